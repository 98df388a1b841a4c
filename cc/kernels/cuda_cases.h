// What a check of the CUDA kernels needs: element types, the reductions by
// number on the CPU and on the device, and arrays there.

#ifndef TFSAL_CC_KERNELS_CUDA_CASES_H_
#define TFSAL_CC_KERNELS_CUDA_CASES_H_

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "cc/kernels/cam.cu.h"
#include "cc/kernels/cam.h"
#include "cc/kernels/parallel.h"
#include "cc/kernels/types.h"

namespace tfsal {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kEpsilon = 1e-8;  // XGrad-CAM's

inline void Must(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::printf("FAILED: %s\n", cudaGetErrorString(error));
  std::exit(1);
}

// --------------------------------------------------------------- element types

template <typename T>
struct Element;

template <>
struct Element<float> {
  static constexpr const char* kName = "float";
  static constexpr double kLeast = 0x1p-149;  // above 0
  static constexpr double kTolerance = 1e-5;
  static float From(double v) { return static_cast<float>(v); }
  static double Value(float v) { return v; }
};

template <>
struct Element<double> {
  static constexpr const char* kName = "double";
  static constexpr double kLeast = 0x1p-1074;
  static constexpr double kTolerance = 1e-12;
  static double From(double v) { return v; }
  static double Value(double v) { return v; }
};

template <>
struct Element<Half> {
  static constexpr const char* kName = "half";
  static constexpr double kLeast = 0x1p-24;
  static constexpr double kTolerance = 1e-5;
  static Half From(double v) {
    return {static_cast<__half_raw>(__float2half(static_cast<float>(v))).x};
  }
  static double Value(Half v) { return __half2float(__half_raw{v.bits}); }
};

template <>
struct Element<BFloat16> {
  static constexpr const char* kName = "bfloat16";
  static constexpr double kLeast = 0x1p-133;
  static constexpr double kTolerance = 1e-5;
  static BFloat16 From(double v) {
    return {
        static_cast<__nv_bfloat16_raw>(__float2bfloat16(static_cast<float>(v)))
            .x};
  }
  static double Value(BFloat16 v) {
    return __bfloat162float(__nv_bfloat16_raw{v.bits});
  }
};

// ------------------------------------------------------------------ reductions

enum Reduction {
  kGradCam,
  kPlusPlusPaper,
  kPlusPlusNormalized,
  kPlusPlusMean,
  kXGradCam,
  kHiResCam,
  kLayerCam,
  kWeightedCam,
  kReductions
};
constexpr const char* kNames[] = {
    "GradCam",        "GradCam++ paper", "GradCam++ normalized",
    "GradCam++ mean", "XGradCam",        "HiResCam",
    "LayerCam",       "WeightedCam"};
// How often each reads A and G in all.
constexpr int kReads[] = {2, 3, 3, 3, 3, 2, 2, 1};

inline bool IsPlusPlus(int reduction) {
  return reduction >= kPlusPlusPaper && reduction <= kPlusPlusMean;
}

inline PlusPlusAlpha Alpha(int reduction) {
  return static_cast<PlusPlusAlpha>(reduction - kPlusPlusPaper);
}

template <typename T>
void OnCpu(int reduction, const T* a, const T* g, CamShape shape, bool relu,
           Sum<T>* cam, Sum<T>* weights) {
  Serial serial;
  switch (reduction) {
    case kGradCam:
      return GradCam(a, g, shape, relu, cam, weights, serial);
    case kXGradCam:
      return XGradCam(a, g, shape, kEpsilon, relu, cam, weights, serial);
    case kHiResCam:
      return HiResCam(a, g, shape, relu, cam, serial);
    case kLayerCam:
      return LayerCam(a, g, shape, relu, cam, serial);
    case kWeightedCam:
      return WeightedCam(a, weights, shape, relu, cam, serial);
    default:
      return GradCamPlusPlus(a, g, shape, Alpha(reduction), relu, cam, weights,
                             serial);
  }
}

template <typename T>
cudaError_t OnCuda(int reduction, const T* a, const T* g, CamShape shape,
                   bool relu, Sum<T>* cam, Sum<T>* weights, Sum<T>* scratch,
                   cudaStream_t stream) {
  switch (reduction) {
    case kGradCam:
      return cuda::GradCam(a, g, shape, relu, cam, weights, scratch, stream);
    case kXGradCam:
      return cuda::XGradCam(a, g, shape, kEpsilon, relu, cam, weights, scratch,
                            stream);
    case kHiResCam:
      return cuda::HiResCam(a, g, shape, relu, cam, stream);
    case kLayerCam:
      return cuda::LayerCam(a, g, shape, relu, cam, stream);
    case kWeightedCam:
      return cuda::WeightedCam(a, weights, shape, relu, cam, stream);
    default:
      return cuda::GradCamPlusPlus(a, g, shape, Alpha(reduction), relu, cam,
                                   weights, scratch, stream);
  }
}

// ------------------------------------------------------------------ one tensor

using Random = std::mt19937_64;

inline int64_t Whole(Random& random, int64_t least, int64_t most) {
  return std::uniform_int_distribution<int64_t>(least, most)(random);
}

enum Kind {
  kReal,
  kPositive,
  kIntegers,  // their sums are exact
  kSpecial,   // integers with some NaN and infinity
  kDenormal,
};

template <typename T>
std::vector<T> Fill(Random& random, Kind kind, int64_t count) {
  std::uniform_real_distribution<double> real(-2, 2);
  std::vector<T> values(count);
  for (T& value : values) {
    double v = real(random);
    if (kind == kPositive) v = std::max(v, 0.);
    if (kind == kIntegers || kind == kSpecial) v = std::round(v);
    if (kind == kDenormal) v = std::round(50 * v) * Element<T>::kLeast;
    value = Element<T>::From(v);
  }
  if (kind == kSpecial && count > 0) {
    for (double v : {kNaN, kInfinity, -kInfinity})
      if (Whole(random, 0, 1))
        values[Whole(random, 0, count - 1)] = Element<T>::From(v);
  }
  return values;
}

// An array on the device, `offset` values after a multiple of 256 bytes, with
// bytes of 0xff before, in, and after it.
template <typename T>
class DeviceArray {
 public:
  DeviceArray(int64_t count, int64_t offset)
      : count_(count), offset_(offset), bytes_((count + 2) * sizeof(T)) {
    Must(cudaMalloc(&base_, bytes_));
    Must(cudaMemset(base_, 0xff, bytes_));
  }
  DeviceArray(const std::vector<T>& values, int64_t offset)
      : DeviceArray(values.size(), offset) {
    Must(cudaMemcpy(get(), values.data(), values.size() * sizeof(T),
                    cudaMemcpyHostToDevice));
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { Must(cudaFree(base_)); }

  T* get() const { return static_cast<T*>(base_) + offset_; }

  // The values; fails where any was written beside them.
  std::vector<T> Read() const {
    std::vector<unsigned char> all(bytes_);
    Must(cudaMemcpy(all.data(), base_, bytes_, cudaMemcpyDeviceToHost));
    std::vector<T> values(count_);
    const auto first = all.begin() + offset_ * sizeof(T);
    const auto last = first + count_ * sizeof(T);
    const auto kept = [](unsigned char byte) { return byte == 0xff; };
    if (!std::all_of(all.begin(), first, kept) ||
        !std::all_of(last, all.end(), kept)) {
      std::puts("FAILED: written beside an array");
      std::exit(1);
    }
    if (count_ > 0) std::memcpy(values.data(), &*first, count_ * sizeof(T));
    return values;
  }

 private:
  int64_t count_, offset_;
  size_t bytes_;
  void* base_ = nullptr;
};

}  // namespace tfsal

#endif  // TFSAL_CC_KERNELS_CUDA_CASES_H_
