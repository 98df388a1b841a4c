// The ops of cc/ops as HLO, for XLA on CPU, GPU and TPU. XLA fuses what it can;
// the formulae are those of the ops' documentation.
//
// Registered with REGISTER_KERNEL_BUILDER, not REGISTER_XLA_OP: the latter has
// no effect once the process has compiled something with XLA.
#include <numeric>
#include <string>
#include <vector>

#include "tensorflow/compiler/tf2xla/type_util.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "xla/hlo/builder/lib/arithmetic.h"
#include "xla/hlo/builder/lib/constants.h"
#include "xla/hlo/builder/xla_builder.h"

namespace tfsal {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::XlaOpKernelContext;
using xla::XlaOp;

// Activations [N, *spatial, C] and what can be done with them.
struct Maps {
  explicit Maps(const tensorflow::TensorShape& shape, xla::PrimitiveType sum)
      : rank(shape.dims()), type(sum) {
    for (int i = 1; i < rank - 1; ++i) positions *= shape.dim_size(i);
  }

  XlaOp Sum(XlaOp x, int64_t first, int64_t last) const {
    std::vector<int64_t> axes(last - first);
    std::iota(axes.begin(), axes.end(), first);
    return xla::Reduce(x, xla::Zero(x.builder(), type),
                       xla::CreateScalarAddComputation(type, x.builder()),
                       axes);
  }
  XlaOp OverPositions(XlaOp x) const { return Sum(x, 1, rank - 1); }
  XlaOp OverChannels(XlaOp x) const { return Sum(x, rank - 1, rank); }

  // x times weights [N, C], added up over channels. Not as a dot product, which
  // a TPU rounds to bfloat16.
  XlaOp Weigh(XlaOp x, XlaOp weights) const {
    return OverChannels(xla::Mul(x, weights, {0, rank - 1}));
  }

  XlaOp Divide(XlaOp x, double by) const {
    return xla::Div(x, xla::ScalarLike(x, by));
  }

  int64_t rank;
  xla::PrimitiveType type;
  int64_t positions = 1;
};

// What is not negative; NaN stays.
XlaOp Positive(XlaOp x) {
  const XlaOp zero = xla::ZerosLike(x);
  return xla::Select(xla::Lt(x, zero), zero, x);
}

// A reduction of activations and a second input; subclasses write the formula.
class CamXla : public tensorflow::XlaOpKernel {
 public:
  explicit CamXla(OpKernelConstruction* c) : XlaOpKernel(c) {
    OP_REQUIRES_OK(c, c->GetAttr("relu", &relu_));
    tensorflow::DataType sum;
    OP_REQUIRES_OK(c, c->GetAttr("Tsum", &sum));
    OP_REQUIRES_OK(c, tensorflow::DataTypeToPrimitiveType(sum, &type_));
  }

  void Compile(XlaOpKernelContext* c) override {
    const tensorflow::TensorShape a = c->InputShape(0), b = c->InputShape(1);
    OP_REQUIRES(c, a.dims() >= 3,
                absl::InvalidArgumentError(
                    "activations must be [examples, *spatial, channels], not " +
                    a.DebugString()));
    const tensorflow::TensorShape weights(
        {a.dim_size(0), a.dim_size(a.dims() - 1)});
    OP_REQUIRES(c, b == (given_weights() ? weights : a),
                absl::InvalidArgumentError(
                    "the inputs' shapes do not fit: " + a.DebugString() +
                    " and " + b.DebugString()));
    XlaOp channels;
    XlaOp cam =
        Reduce(Maps(a, type_), xla::ConvertElementType(c->Input(0), type_),
               xla::ConvertElementType(c->Input(1), type_), &channels);
    c->SetOutput(0, relu_ ? Positive(cam) : cam);
    if (num_outputs() > 1) c->SetOutput(1, channels);
  }

 protected:
  virtual bool given_weights() const { return false; }
  virtual XlaOp Reduce(const Maps& maps, XlaOp a, XlaOp b,
                       XlaOp* weights) const = 0;

 private:
  bool relu_ = false;
  xla::PrimitiveType type_;
};

class GradCamXla final : public CamXla {
 public:
  using CamXla::CamXla;

 private:
  XlaOp Reduce(const Maps& maps, XlaOp a, XlaOp g,
               XlaOp* weights) const override {
    *weights = maps.Divide(maps.OverPositions(g), maps.positions);
    return maps.Weigh(a, *weights);
  }
};

class GradCamPlusPlusXla final : public CamXla {
 public:
  explicit GradCamPlusPlusXla(OpKernelConstruction* c) : CamXla(c) {
    OP_REQUIRES_OK(c, c->GetAttr("alpha", &alpha_));
  }

 private:
  XlaOp Reduce(const Maps& maps, XlaOp a, XlaOp g,
               XlaOp* weights) const override {
    XlaOp totals = maps.OverPositions(a);
    if (alpha_ == "mean") totals = maps.Divide(totals, maps.positions);
    const XlaOp zero = xla::ZerosLike(g);
    const XlaOp below = xla::Add(xla::ScalarLike(g, 2),
                                 xla::Mul(g, totals, {0, maps.rank - 1}));
    // False for NaN, which stays.
    const XlaOp none = xla::Or(xla::Le(g, zero), xla::Eq(below, zero));
    const XlaOp share =
        xla::Select(none, zero, xla::Div(xla::ScalarLike(g, 1), below));
    *weights = maps.OverPositions(xla::Select(none, zero, xla::Mul(share, g)));
    if (alpha_ == "normalized") {
      const XlaOp all = maps.OverPositions(share);
      const XlaOp one = xla::ScalarLike(all, 1);
      const XlaOp some = xla::Ne(all, xla::ZerosLike(all));
      *weights = xla::Div(
          *weights, xla::Select(some, all, xla::Add(xla::ZerosLike(all), one)));
    }
    return maps.Weigh(a, *weights);
  }

  std::string alpha_;
};

class XGradCamXla final : public CamXla {
 public:
  explicit XGradCamXla(OpKernelConstruction* c) : CamXla(c) {
    OP_REQUIRES_OK(c, c->GetAttr("epsilon", &epsilon_));
  }

 private:
  XlaOp Reduce(const Maps& maps, XlaOp a, XlaOp g,
               XlaOp* weights) const override {
    const XlaOp totals = maps.OverPositions(a);
    *weights = xla::Div(maps.OverPositions(xla::Mul(a, g)),
                        xla::Add(totals, xla::ScalarLike(totals, epsilon_)));
    return maps.Weigh(a, *weights);
  }

  float epsilon_ = 0;
};

class HiResCamXla final : public CamXla {
 public:
  using CamXla::CamXla;

 private:
  XlaOp Reduce(const Maps& maps, XlaOp a, XlaOp g, XlaOp*) const override {
    return maps.OverChannels(xla::Mul(a, g));
  }
};

class LayerCamXla final : public CamXla {
 public:
  using CamXla::CamXla;

 private:
  XlaOp Reduce(const Maps& maps, XlaOp a, XlaOp g, XlaOp*) const override {
    return maps.OverChannels(xla::Mul(a, Positive(g)));
  }
};

class WeightedCamXla final : public CamXla {
 public:
  using CamXla::CamXla;

 private:
  bool given_weights() const override { return true; }
  XlaOp Reduce(const Maps& maps, XlaOp a, XlaOp weights,
               XlaOp*) const override {
    return maps.Weigh(a, weights);
  }
};

#define TFSAL_REGISTER(name, kernel)                                 \
  REGISTER_KERNEL_BUILDER(Name(name).Device("XLA_CPU_JIT"), kernel); \
  REGISTER_KERNEL_BUILDER(Name(name).Device("XLA_GPU_JIT"), kernel); \
  REGISTER_KERNEL_BUILDER(Name(name).Device("XLA_TPU_JIT"), kernel);
TFSAL_REGISTER("TfsalGradCam", GradCamXla)
TFSAL_REGISTER("TfsalGradCamPlusPlus", GradCamPlusPlusXla)
TFSAL_REGISTER("TfsalXGradCam", XGradCamXla)
TFSAL_REGISTER("TfsalHiResCam", HiResCamXla)
TFSAL_REGISTER("TfsalLayerCam", LayerCamXla)
TFSAL_REGISTER("TfsalWeightedCam", WeightedCamXla)
#undef TFSAL_REGISTER

}  // namespace
}  // namespace tfsal
