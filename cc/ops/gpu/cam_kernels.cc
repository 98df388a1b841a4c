// The ops on a GPU, on the stream of TensorFlow's device.
#include "cc/ops/cam_kernels.h"

#include "cc/ops/gpu/cam_launch.h"
#include "tensorflow/core/framework/register_types.h"
#include "xla/stream_executor/stream.h"

namespace tfsal {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;

// Where the kernels of one op write.
template <typename S>
struct Room {
  S *cam = nullptr, *weights = nullptr, *scratch = nullptr;
};

// The steps of every op; Reduce is its kernel, with its attributes.
template <typename T, template <typename> class Reduce>
class GpuCamOp final : public CamOp<T> {
 public:
  using S = typename CamOp<T>::S;

  explicit GpuCamOp(OpKernelConstruction* c) : CamOp<T>(c), reduce_(c) {}

  void Compute(OpKernelContext* c) override {
    CamShape shape;
    OP_REQUIRES_OK(c, this->Check(c, Reduce<T>::kGivenWeights, &shape));
    Room<S> room;
    OP_REQUIRES_OK(c, this->Allocate(c, shape, &room.cam, &room.weights));
    Tensor scratch;
    if (room.weights != nullptr) {
      OP_REQUIRES_OK(
          c, c->allocate_temp(
                 tensorflow::DataTypeToEnum<S>::value,
                 tensorflow::TensorShape({gpu::ScratchSums(shape)}), &scratch));
      room.scratch = scratch.template flat<S>().data();
    }
    const char* error = reduce_(
        c->input(0), c->input(1), shape, this->relu_, room,
        c->op_device_context()->stream()->platform_specific_handle().stream);
    OP_REQUIRES(c, error == nullptr,
                absl::InternalError(absl::StrCat(
                    this->name(), " could not be launched: ", error)));
  }

 private:
  const Reduce<T> reduce_;
};

#define TFSAL_REDUCE_ARGUMENTS                                        \
  const Tensor &a, const Tensor &b, const CamShape &shape, bool relu, \
      const Room<typename CamOp<T>::S>&room, void *stream

template <typename T>
struct GradCamReduce {
  static constexpr bool kGivenWeights = false;
  explicit GradCamReduce(OpKernelConstruction*) {}
  const char* operator()(TFSAL_REDUCE_ARGUMENTS) const {
    return gpu::GradCam(Data<T>(a), Data<T>(b), shape, relu, room.cam,
                        room.weights, room.scratch, stream);
  }
};

template <typename T>
struct GradCamPlusPlusReduce {
  static constexpr bool kGivenWeights = false;
  explicit GradCamPlusPlusReduce(OpKernelConstruction* c) {
    std::string name;
    OP_REQUIRES_OK(c, c->GetAttr("alpha", &name));
    alpha = AlphaOf(name);
  }
  const char* operator()(TFSAL_REDUCE_ARGUMENTS) const {
    return gpu::GradCamPlusPlus(Data<T>(a), Data<T>(b), shape, alpha, relu,
                                room.cam, room.weights, room.scratch, stream);
  }
  PlusPlusAlpha alpha = PlusPlusAlpha::kPaper;
};

template <typename T>
struct XGradCamReduce {
  static constexpr bool kGivenWeights = false;
  explicit XGradCamReduce(OpKernelConstruction* c) {
    OP_REQUIRES_OK(c, c->GetAttr("epsilon", &epsilon));
  }
  const char* operator()(TFSAL_REDUCE_ARGUMENTS) const {
    return gpu::XGradCam(Data<T>(a), Data<T>(b), shape, double{epsilon}, relu,
                         room.cam, room.weights, room.scratch, stream);
  }
  float epsilon = 0;
};

template <typename T>
struct HiResCamReduce {
  static constexpr bool kGivenWeights = false;
  explicit HiResCamReduce(OpKernelConstruction*) {}
  const char* operator()(TFSAL_REDUCE_ARGUMENTS) const {
    return gpu::HiResCam(Data<T>(a), Data<T>(b), shape, relu, room.cam, stream);
  }
};

template <typename T>
struct LayerCamReduce {
  static constexpr bool kGivenWeights = false;
  explicit LayerCamReduce(OpKernelConstruction*) {}
  const char* operator()(TFSAL_REDUCE_ARGUMENTS) const {
    return gpu::LayerCam(Data<T>(a), Data<T>(b), shape, relu, room.cam, stream);
  }
};

template <typename T>
struct WeightedCamReduce {
  static constexpr bool kGivenWeights = true;
  explicit WeightedCamReduce(OpKernelConstruction*) {}
  const char* operator()(TFSAL_REDUCE_ARGUMENTS) const {
    using S = typename CamOp<T>::S;
    return gpu::WeightedCam(Data<T>(a), Data<S>(b), shape, relu, room.cam,
                            stream);
  }
};

#undef TFSAL_REDUCE_ARGUMENTS

#define TFSAL_REGISTER(name, T, reduce)                             \
  REGISTER_KERNEL_BUILDER(Name(name)                                \
                              .Device(tensorflow::DEVICE_GPU)       \
                              .TypeConstraint<T>("T")               \
                              .TypeConstraint<CamOp<T>::S>("Tsum"), \
                          GpuCamOp<T, reduce>);
#define TFSAL_REGISTER_ALL(T)                                      \
  TFSAL_REGISTER("TfsalGradCam", T, GradCamReduce)                 \
  TFSAL_REGISTER("TfsalGradCamPlusPlus", T, GradCamPlusPlusReduce) \
  TFSAL_REGISTER("TfsalXGradCam", T, XGradCamReduce)               \
  TFSAL_REGISTER("TfsalHiResCam", T, HiResCamReduce)               \
  TFSAL_REGISTER("TfsalLayerCam", T, LayerCamReduce)               \
  TFSAL_REGISTER("TfsalWeightedCam", T, WeightedCamReduce)
TFSAL_REGISTER_ALL(Eigen::half)
TFSAL_REGISTER_ALL(Eigen::bfloat16)
TFSAL_REGISTER_ALL(float)
TFSAL_REGISTER_ALL(double)
#undef TFSAL_REGISTER_ALL
#undef TFSAL_REGISTER

}  // namespace
}  // namespace tfsal
