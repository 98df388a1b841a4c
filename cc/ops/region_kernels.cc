// The ops on regions on a CPU, on TensorFlow's own threads.
#include <string>

#include "cc/kernels/felzenszwalb.h"
#include "cc/kernels/xrai.h"
#include "cc/ops/device_threads.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/register_types.h"

namespace tfsal {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

absl::Status NotShaped(const std::string& wanted, const TensorShape& found) {
  return absl::InvalidArgumentError(wanted + ", not " + found.DebugString());
}

absl::Status CheckScalar(const std::string& name, const Tensor& input) {
  if (input.dims() == 0) return absl::OkStatus();
  return NotShaped(name + " must be a scalar", input.shape());
}

absl::Status Refused(const char* error) {
  return error ? absl::InvalidArgumentError(error) : absl::OkStatus();
}

template <typename T>
class FelzenszwalbOp final : public OpKernel {
 public:
  explicit FelzenszwalbOp(OpKernelConstruction* c) : OpKernel(c) {
    OP_REQUIRES_OK(c, c->GetAttr("min_size", &min_size_));
  }

  void Compute(OpKernelContext* c) override {
    const Tensor &images = c->input(0), &scales = c->input(1);
    OP_REQUIRES(c, images.dims() == 4,
                NotShaped("images must be [examples, height, width, channels]",
                          images.shape()));
    OP_REQUIRES(c, scales.dims() == 1,
                NotShaped("scales must be a vector", scales.shape()));
    OP_REQUIRES_OK(c, CheckScalar("sigma", c->input(2)));
    const ImageShape shape = {images.dim_size(0), images.dim_size(1),
                              images.dim_size(2), images.dim_size(3)};
    const FelzenszwalbOptions options = {
        scales.flat<double>().data(), scales.NumElements(),
        c->input(2).scalar<double>()(), min_size_};
    OP_REQUIRES_OK(c, Refused(FelzenszwalbError(shape, options)));
    Tensor* labels = nullptr;
    OP_REQUIRES_OK(c, c->allocate_output(0,
                                         {shape.examples, options.scale_count,
                                          shape.height, shape.width},
                                         &labels));
    DeviceThreads threads(c);
    Felzenszwalb(images.flat<T>().data(), shape, options,
                 labels->flat<int32_t>().data(), threads);
  }

 private:
  int64_t min_size_ = 0;
};

class XraiOp final : public OpKernel {
 public:
  explicit XraiOp(OpKernelConstruction* c) : OpKernel(c) {
    OP_REQUIRES_OK(c, c->GetAttr("radius", &options_.radius));
    OP_REQUIRES_OK(c, c->GetAttr("min_pixel_diff", &options_.min_pixel_diff));
    std::string algorithm;
    OP_REQUIRES_OK(c, c->GetAttr("algorithm", &algorithm));
    options_.fast = algorithm == "fast";
  }

  void Compute(OpKernelContext* c) override {
    const Tensor &attribution = c->input(0), &labels = c->input(1);
    OP_REQUIRES(c, attribution.dims() == 3,
                NotShaped("attribution must be [examples, height, width]",
                          attribution.shape()));
    OP_REQUIRES(c, labels.dims() == 4,
                NotShaped("labels must be [examples, scales, height, width]",
                          labels.shape()));
    TensorShape of_labels = labels.shape();
    of_labels.RemoveDim(1);
    OP_REQUIRES(c, attribution.shape() == of_labels,
                absl::InvalidArgumentError(
                    "attribution " + attribution.shape().DebugString() +
                    " and labels " + labels.shape().DebugString() +
                    " must be of the same images"));
    OP_REQUIRES_OK(c, CheckScalar("area_threshold", c->input(2)));
    const SegmentsShape shape = {labels.dim_size(0), labels.dim_size(1),
                                 labels.dim_size(2), labels.dim_size(3)};
    XraiOptions options = options_;
    options.area_threshold = c->input(2).scalar<double>()();
    OP_REQUIRES_OK(c, Refused(XraiError(shape, options)));
    const int32_t* segments = labels.flat<int32_t>().data();
    const int64_t bad = FindBadLabel(segments, shape);
    OP_REQUIRES(
        c, bad < 0,
        absl::InvalidArgumentError(
            "labels are from 0 to " + std::to_string(LabelsEnd(shape) - 1) +
            ", not " + std::to_string(bad < 0 ? 0 : segments[bad])));
    Tensor *map = nullptr, *ranking = nullptr;
    OP_REQUIRES_OK(c, c->allocate_output(0, attribution.shape(), &map));
    OP_REQUIRES_OK(c, c->allocate_output(1, attribution.shape(), &ranking));
    DeviceThreads threads(c);
    Xrai(attribution.flat<float>().data(), segments, shape, options,
         map->flat<float>().data(), ranking->flat<int32_t>().data(), threads);
  }

 private:
  XraiOptions options_;
};

#define TFSAL_REGISTER(T)                                     \
  REGISTER_KERNEL_BUILDER(Name("TfsalFelzenszwalb")           \
                              .Device(tensorflow::DEVICE_CPU) \
                              .TypeConstraint<T>("T"),        \
                          FelzenszwalbOp<T>);
TFSAL_REGISTER(float)
TFSAL_REGISTER(double)
#undef TFSAL_REGISTER

REGISTER_KERNEL_BUILDER(Name("TfsalXrai").Device(tensorflow::DEVICE_CPU),
                        XraiOp);

}  // namespace
}  // namespace tfsal
