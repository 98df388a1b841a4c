#include <cuda_runtime.h>

#include "cc/kernels/cam.cu.h"
#include "cc/ops/gpu/cam_launch.h"

namespace tfsal::gpu {
namespace {

const char* Text(cudaError_t error) {
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

cudaStream_t Stream(void* stream) { return static_cast<cudaStream_t>(stream); }

}  // namespace

int64_t ScratchSums(CamShape shape) { return cuda::ScratchSums(shape); }

template <typename T>
const char* GradCam(const T* a, const T* g, CamShape shape, bool relu,
                    Sum<T>* cam, Sum<T>* weights, Sum<T>* scratch,
                    void* stream) {
  return Text(
      cuda::GradCam(a, g, shape, relu, cam, weights, scratch, Stream(stream)));
}

template <typename T>
const char* GradCamPlusPlus(const T* a, const T* g, CamShape shape,
                            PlusPlusAlpha alpha, bool relu, Sum<T>* cam,
                            Sum<T>* weights, Sum<T>* scratch, void* stream) {
  return Text(cuda::GradCamPlusPlus(a, g, shape, alpha, relu, cam, weights,
                                    scratch, Stream(stream)));
}

template <typename T>
const char* XGradCam(const T* a, const T* g, CamShape shape, double epsilon,
                     bool relu, Sum<T>* cam, Sum<T>* weights, Sum<T>* scratch,
                     void* stream) {
  return Text(cuda::XGradCam(a, g, shape, epsilon, relu, cam, weights, scratch,
                             Stream(stream)));
}

template <typename T>
const char* HiResCam(const T* a, const T* g, CamShape shape, bool relu,
                     Sum<T>* cam, void* stream) {
  return Text(cuda::HiResCam(a, g, shape, relu, cam, Stream(stream)));
}

template <typename T>
const char* LayerCam(const T* a, const T* g, CamShape shape, bool relu,
                     Sum<T>* cam, void* stream) {
  return Text(cuda::LayerCam(a, g, shape, relu, cam, Stream(stream)));
}

template <typename T>
const char* WeightedCam(const T* a, const Sum<T>* weights, CamShape shape,
                        bool relu, Sum<T>* cam, void* stream) {
  return Text(cuda::WeightedCam(a, weights, shape, relu, cam, Stream(stream)));
}

#define TFSAL_INSTANTIATE(T)                                                  \
  template const char* GradCam(const T*, const T*, CamShape, bool, Sum<T>*,   \
                               Sum<T>*, Sum<T>*, void*);                      \
  template const char* GradCamPlusPlus(const T*, const T*, CamShape,          \
                                       PlusPlusAlpha, bool, Sum<T>*, Sum<T>*, \
                                       Sum<T>*, void*);                       \
  template const char* XGradCam(const T*, const T*, CamShape, double, bool,   \
                                Sum<T>*, Sum<T>*, Sum<T>*, void*);            \
  template const char* HiResCam(const T*, const T*, CamShape, bool, Sum<T>*,  \
                                void*);                                       \
  template const char* LayerCam(const T*, const T*, CamShape, bool, Sum<T>*,  \
                                void*);                                       \
  template const char* WeightedCam(const T*, const Sum<T>*, CamShape, bool,   \
                                   Sum<T>*, void*);
TFSAL_INSTANTIATE(Half)
TFSAL_INSTANTIATE(BFloat16)
TFSAL_INSTANTIATE(float)
TFSAL_INSTANTIATE(double)
#undef TFSAL_INSTANTIATE

}  // namespace tfsal::gpu
