// What the CPU and GPU kernels of the ops share: checks of inputs and
// attributes, before anything is read.
#ifndef TFSAL_CC_OPS_CAM_KERNELS_H_
#define TFSAL_CC_OPS_CAM_KERNELS_H_

#include <string>
#include <type_traits>

#include "cc/kernels/cam.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tfsal {

// The kernels' name for a type of TensorFlow's, with the same bits.
template <typename T>
struct KernelType {
  using Type = T;
};
template <>
struct KernelType<Eigen::half> {
  using Type = Half;
};
template <>
struct KernelType<Eigen::bfloat16> {
  using Type = BFloat16;
};

template <typename T>
const typename KernelType<T>::Type* Data(const tensorflow::Tensor& tensor) {
  return reinterpret_cast<const typename KernelType<T>::Type*>(
      tensor.flat<T>().data());
}

// A reduction to a map; subclasses know one device.
template <typename T>
class CamOp : public tensorflow::OpKernel {
 public:
  using S = Sum<typename KernelType<T>::Type>;

  explicit CamOp(tensorflow::OpKernelConstruction* c) : OpKernel(c) {
    OP_REQUIRES_OK(c, c->GetAttr("relu", &relu_));
  }

 protected:
  // The inputs' shape, or an error: activations [N, *spatial, C], and a second
  // input of the same shape or, with `given_weights`, [N, C].
  absl::Status Check(tensorflow::OpKernelContext* c, bool given_weights,
                     CamShape* shape) {
    const tensorflow::TensorShape& a = c->input(0).shape();
    const tensorflow::TensorShape& b = c->input(1).shape();
    if (a.dims() < 3) {
      return absl::InvalidArgumentError(
          "activations must be [examples, *spatial, channels], not " +
          a.DebugString());
    }
    *shape = {a.dim_size(0), 1, a.dim_size(a.dims() - 1)};
    for (int i = 1; i < a.dims() - 1; ++i) shape->positions *= a.dim_size(i);
    if (given_weights) {
      const tensorflow::TensorShape wanted({shape->examples, shape->channels});
      if (b != wanted) {
        return absl::InvalidArgumentError(
            "weights must be [examples, channels] = " + wanted.DebugString() +
            ", not " + b.DebugString());
      }
    } else if (a != b) {
      return absl::InvalidArgumentError("activations " + a.DebugString() +
                                        " and gradients " + b.DebugString() +
                                        " must have the same shape");
    }
    return absl::OkStatus();
  }

  // Allocates the map and, where the op has them, the channel weights.
  absl::Status Allocate(tensorflow::OpKernelContext* c, const CamShape& shape,
                        S** cam, S** weights) {
    tensorflow::TensorShape map = c->input(0).shape();
    map.RemoveLastDims(1);
    tensorflow::Tensor* output = nullptr;
    TF_RETURN_IF_ERROR(c->allocate_output(0, map, &output));
    *cam = output->flat<S>().data();
    if (num_outputs() > 1) {
      TF_RETURN_IF_ERROR(
          c->allocate_output(1, {shape.examples, shape.channels}, &output));
      *weights = output->flat<S>().data();
    }
    return absl::OkStatus();
  }

  bool relu_ = false;
};

inline PlusPlusAlpha AlphaOf(const std::string& name) {
  if (name == "normalized") return PlusPlusAlpha::kNormalized;
  return name == "mean" ? PlusPlusAlpha::kMean : PlusPlusAlpha::kPaper;
}

}  // namespace tfsal

#endif  // TFSAL_CC_OPS_CAM_KERNELS_H_
