// The reductions of cam.cu.h behind plain declarations, because one compiler
// reads CUDA and the other TensorFlow's headers.
#ifndef TFSAL_CC_OPS_GPU_CAM_LAUNCH_H_
#define TFSAL_CC_OPS_GPU_CAM_LAUNCH_H_

#include <cstdint>

#include "cc/kernels/cam.h"

namespace tfsal::gpu {

// Values of Sum<T> that a reduction with channel weights needs to work in.
int64_t ScratchSums(CamShape shape);

// Every function queues its work on `stream`, a cudaStream_t, and returns null,
// or what CUDA said of the first launch that failed. T is Half, BFloat16, float
// or double; the rest is as in cam.cu.h.
template <typename T>
const char* GradCam(const T* a, const T* g, CamShape shape, bool relu,
                    Sum<T>* cam, Sum<T>* weights, Sum<T>* scratch,
                    void* stream);
template <typename T>
const char* GradCamPlusPlus(const T* a, const T* g, CamShape shape,
                            PlusPlusAlpha alpha, bool relu, Sum<T>* cam,
                            Sum<T>* weights, Sum<T>* scratch, void* stream);
template <typename T>
const char* XGradCam(const T* a, const T* g, CamShape shape, double epsilon,
                     bool relu, Sum<T>* cam, Sum<T>* weights, Sum<T>* scratch,
                     void* stream);
template <typename T>
const char* HiResCam(const T* a, const T* g, CamShape shape, bool relu,
                     Sum<T>* cam, void* stream);
template <typename T>
const char* LayerCam(const T* a, const T* g, CamShape shape, bool relu,
                     Sum<T>* cam, void* stream);
template <typename T>
const char* WeightedCam(const T* a, const Sum<T>* weights, CamShape shape,
                        bool relu, Sum<T>* cam, void* stream);

}  // namespace tfsal::gpu

#endif  // TFSAL_CC_OPS_GPU_CAM_LAUNCH_H_
