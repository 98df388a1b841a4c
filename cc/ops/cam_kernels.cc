// The ops on a CPU, on TensorFlow's own threads.
#include "cc/ops/cam_kernels.h"

#include "cc/ops/device_threads.h"
#include "tensorflow/core/framework/register_types.h"

namespace tfsal {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;

// The steps of every op; Reduce is its kernel, with its attributes.
template <typename T, template <typename> class Reduce>
class CpuCamOp final : public CamOp<T> {
 public:
  explicit CpuCamOp(OpKernelConstruction* c) : CamOp<T>(c), reduce_(c) {}

  void Compute(OpKernelContext* c) override {
    CamShape shape;
    OP_REQUIRES_OK(c, this->Check(c, Reduce<T>::kGivenWeights, &shape));
    typename CamOp<T>::S *cam = nullptr, *weights = nullptr;
    OP_REQUIRES_OK(c, this->Allocate(c, shape, &cam, &weights));
    DeviceThreads threads(c);
    reduce_(c->input(0), c->input(1), shape, this->relu_, cam, weights,
            threads);
  }

 private:
  const Reduce<T> reduce_;
};

#define TFSAL_REDUCE_ARGUMENTS                                              \
  const tensorflow::Tensor &a, const tensorflow::Tensor &b, CamShape shape, \
      bool relu, typename CamOp<T>::S *cam, typename CamOp<T>::S *weights,  \
      Parallel &parallel

template <typename T>
struct GradCamReduce {
  static constexpr bool kGivenWeights = false;
  explicit GradCamReduce(OpKernelConstruction*) {}
  void operator()(TFSAL_REDUCE_ARGUMENTS) const {
    GradCam(Data<T>(a), Data<T>(b), shape, relu, cam, weights, parallel);
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
  void operator()(TFSAL_REDUCE_ARGUMENTS) const {
    GradCamPlusPlus(Data<T>(a), Data<T>(b), shape, alpha, relu, cam, weights,
                    parallel);
  }
  PlusPlusAlpha alpha = PlusPlusAlpha::kPaper;
};

template <typename T>
struct XGradCamReduce {
  static constexpr bool kGivenWeights = false;
  explicit XGradCamReduce(OpKernelConstruction* c) {
    OP_REQUIRES_OK(c, c->GetAttr("epsilon", &epsilon));
  }
  void operator()(TFSAL_REDUCE_ARGUMENTS) const {
    XGradCam(Data<T>(a), Data<T>(b), shape, epsilon, relu, cam, weights,
             parallel);
  }
  float epsilon = 0;
};

template <typename T>
struct HiResCamReduce {
  static constexpr bool kGivenWeights = false;
  explicit HiResCamReduce(OpKernelConstruction*) {}
  void operator()(TFSAL_REDUCE_ARGUMENTS) const {
    HiResCam(Data<T>(a), Data<T>(b), shape, relu, cam, parallel);
  }
};

template <typename T>
struct LayerCamReduce {
  static constexpr bool kGivenWeights = false;
  explicit LayerCamReduce(OpKernelConstruction*) {}
  void operator()(TFSAL_REDUCE_ARGUMENTS) const {
    LayerCam(Data<T>(a), Data<T>(b), shape, relu, cam, parallel);
  }
};

template <typename T>
struct WeightedCamReduce {
  static constexpr bool kGivenWeights = true;
  explicit WeightedCamReduce(OpKernelConstruction*) {}
  void operator()(TFSAL_REDUCE_ARGUMENTS) const {
    using S = typename CamOp<T>::S;
    WeightedCam(Data<T>(a), Data<S>(b), shape, relu, cam, parallel);
  }
};

#undef TFSAL_REDUCE_ARGUMENTS

#define TFSAL_REGISTER(name, T, reduce)                             \
  REGISTER_KERNEL_BUILDER(Name(name)                                \
                              .Device(tensorflow::DEVICE_CPU)       \
                              .TypeConstraint<T>("T")               \
                              .TypeConstraint<CamOp<T>::S>("Tsum"), \
                          CpuCamOp<T, reduce>);
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
