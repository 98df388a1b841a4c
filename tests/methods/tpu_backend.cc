// Registers the XLA kernels that every TensorFlow has for TPUs, which only builds for TPUs do, so
// that a graph can be lowered for one where none is. To be loaded before anything is compiled.

#include "tensorflow/compiler/tf2xla/tf2xla_util.h"
#include "tensorflow/compiler/tf2xla/xla_op_registry.h"
#include "tensorflow/core/tpu/tpu_defs.h"

namespace {

bool AllowStrings(tensorflow::KernelDef* kernel) {
  if (kernel->op() == "Const") {
    tensorflow::AddDtypeToKernelDefConstraint("dtype", tensorflow::DT_STRING, kernel);
  }
  if (kernel->op() == "Assert") {
    tensorflow::AddDtypeToKernelDefConstraint("T", tensorflow::DT_STRING, kernel);
  }
  return true;
}

REGISTER_XLA_BACKEND("XLA_TPU_JIT", tensorflow::kTpuAllTypes, AllowStrings);

}  // namespace
