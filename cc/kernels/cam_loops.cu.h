// The loops of cam.cu.h, on the device: a block of threads each.
#ifndef TFSAL_CC_KERNELS_CAM_LOOPS_CU_H_
#define TFSAL_CC_KERNELS_CAM_LOOPS_CU_H_

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#include "cc/kernels/cam.h"
#include "cc/kernels/types.h"

namespace tfsal::cuda::internal {

constexpr int kThreads = 256;  // in a block
constexpr unsigned kWholeWarp = 0xffffffffu;
// Loads that a thread has under way at a time, of each input.
constexpr int kBatch = 4;

// Values of T in the widest load.
template <typename T>
constexpr int kWide = sizeof(uint4) / sizeof(T);

inline __device__ float Value(float v) { return v; }
inline __device__ double Value(double v) { return v; }
inline __device__ float Value(Half v) {
  return __half2float(__ushort_as_half(v.bits));
}
inline __device__ float Value(BFloat16 v) {
  return __uint_as_float(static_cast<uint32_t>(v.bits) << 16);
}

// kCount times N values, from p, p + step, ... on. Where N is not 1 these are
// multiples of 16 bytes.
template <int kCount, int N, typename T>
__device__ void Load(const T* p, int64_t step, Sum<T> (&values)[kCount][N]) {
  for (int i = 0; i < kCount; ++i, p += step) {
    if constexpr (N == 1) {
      values[i][0] = Value(*p);
    } else {
      static_assert(N % kWide<T> == 0);
      for (int n = 0; n < N; n += kWide<T>) {
        const uint4 bits = __ldg(reinterpret_cast<const uint4*>(p + n));
        T raw[kWide<T>];
        memcpy(raw, &bits, sizeof(bits));
        for (int k = 0; k < kWide<T>; ++k) values[i][n + k] = Value(raw[k]);
      }
    }
  }
}

// The second factors of dot products: of example i and position p, those from
// values + i * example + p * position on.
template <typename F>
struct Factors {
  const F* values;
  int64_t example, position;
  Sum<F> least;  // smaller ones count 0
};

template <int kCount, int N, typename T, typename F>
__device__ void AddProducts(const T* a, const F* b, int64_t step, Sum<F> least,
                            Sum<T>& total) {
  Sum<T> u[kCount][N], v[kCount][N];
  Load(a, step, u);
  Load(b, step, v);
  for (int i = 0; i < kCount; ++i)
    for (int n = 0; n < N; ++n)
      total += u[i][n] * (v[i][n] < least ? 0 : v[i][n]);  // NaN stays
}

// cam = sum over channels of a and factors. Each position has 1 << log_lanes
// lanes of a warp.
template <int N, typename T, typename F>
__global__ void __launch_bounds__(kThreads)
    SumRows(const T* a, Factors<F> factors, CamShape shape, int log_lanes,
            bool relu, Sum<T>* cam) {
  const int lanes = 1 << log_lanes, rows = kThreads >> log_lanes;
  const int lane = threadIdx.x & (lanes - 1), row = threadIdx.x >> log_lanes;
  const int64_t width = int64_t{lanes} * N;
  for (int64_t i = blockIdx.y; i < shape.examples; i += gridDim.y) {
    for (int64_t first = int64_t{blockIdx.x} * rows; first < shape.positions;
         first += int64_t{gridDim.x} * rows) {
      const int64_t p = first + row;
      const int64_t at = i * shape.positions + p;
      Sum<T> total = 0;
      if (p < shape.positions) {
        const T* x = a + at * shape.channels;
        const F* y =
            factors.values + i * factors.example + p * factors.position;
        int64_t k = int64_t{lane} * N;
        for (; k + (kBatch - 1) * width < shape.channels; k += kBatch * width)
          AddProducts<kBatch, N>(x + k, y + k, width, factors.least, total);
        for (; k < shape.channels; k += width)
          AddProducts<1, N>(x + k, y + k, width, factors.least, total);
      }
      // The loops are the same for a whole block: no lane is missing here.
      for (int step = lanes / 2; step > 0; step /= 2)
        total += __shfl_down_sync(kWholeWarp, total, step, lanes);
      if (lane == 0 && p < shape.positions)
        cam[at] = relu && total < 0 ? 0 : total;
    }
  }
}

// Adds up what threads hold whose numbers agree modulo `lanes`, a power of 2;
// the first of them gets the sums. All threads of a block must call.
template <int N, typename S>
__device__ void SumBlock(S (*shared)[kThreads], int lanes, S (&sums)[N]) {
  const int thread = threadIdx.x;
  for (int n = 0; n < N; ++n) shared[n][thread] = sums[n];
  for (int half = kThreads / 2; half >= lanes; half /= 2) {
    __syncthreads();
    if (thread < half)
      for (int n = 0; n < N; ++n) shared[n][thread] += shared[n][thread + half];
  }
  for (int n = 0; n < N; ++n) sums[n] = shared[n][thread];
  __syncthreads();  // before another call writes
}

// Sums over chunks of `rows` positions, one chunk for each blockIdx.y: of the
// terms that `terms` adds, kSums per channel, and into what `finish` makes of
// them, [examples, chunks, channels].
template <int N, typename Terms, typename Finish>
__global__ void __launch_bounds__(kThreads)
    SumColumns(Terms terms, CamShape shape, int64_t rows, int log_lanes,
               Finish finish) {
  using S = typename Terms::Sum;
  __shared__ S shared[N][kThreads];
  const int lanes = 1 << log_lanes, width = lanes * N;
  const int lane = threadIdx.x & (lanes - 1), row = threadIdx.x >> log_lanes;
  const int64_t first = blockIdx.y * rows;
  const int64_t end = min(first + rows, shape.positions);
  const int64_t stride = kThreads >> log_lanes;
  for (int64_t i = blockIdx.z; i < shape.examples; i += gridDim.z) {
    for (int64_t left = int64_t{blockIdx.x} * width; left < shape.channels;
         left += int64_t{gridDim.x} * width) {
      const int64_t k = left + lane * N;
      const bool inside = k < shape.channels;
      S sums[Terms::kSums][N] = {};
      if (inside) {
        const int64_t example = i * shape.positions,
                      channel = i * shape.channels + k;
        int64_t p = first + row;
        for (; p + (kBatch - 1) * stride < end; p += kBatch * stride)
          terms.template Add<kBatch>((example + p) * shape.channels + k,
                                     stride * shape.channels, channel, sums);
        for (; p < end; p += stride)
          terms.template Add<1>((example + p) * shape.channels + k,
                                stride * shape.channels, channel, sums);
      }
      for (auto& sum : sums) SumBlock(shared, lanes, sum);
      if (inside && row == 0) {
        for (int n = 0; n < N; ++n) {
          S column[Terms::kSums];
          for (int s = 0; s < Terms::kSums; ++s) column[s] = sums[s][n];
          finish((i * gridDim.y + blockIdx.y) * shape.channels + k + n, column);
        }
      }
    }
  }
}

// Terms add those of N channels at kCount positions: `at` is the place of the
// first in [examples, positions, channels], `step` what lies between positions,
// `channel` the place of the first in [examples, channels].

template <typename T>
struct Values {
  using Type = T;
  using Sum = tfsal::Sum<T>;
  static constexpr int kSums = 1;
  const T* x;

  template <int kCount, int N>
  __device__ void Add(int64_t at, int64_t step, int64_t,
                      Sum (&sums)[1][N]) const {
    Sum v[kCount][N];
    Load(x + at, step, v);
    for (int i = 0; i < kCount; ++i)
      for (int n = 0; n < N; ++n) sums[0][n] += v[i][n];
  }
};

template <typename T>
struct Products {
  using Type = T;
  using Sum = tfsal::Sum<T>;
  static constexpr int kSums = 2;
  const T *a, *g;

  template <int kCount, int N>
  __device__ void Add(int64_t at, int64_t step, int64_t,
                      Sum (&sums)[2][N]) const {
    Sum u[kCount][N], v[kCount][N];
    Load(a + at, step, u);
    Load(g + at, step, v);
    for (int i = 0; i < kCount; ++i)
      for (int n = 0; n < N; ++n) {
        sums[0][n] += u[i][n] * v[i][n];
        sums[1][n] += u[i][n];
      }
  }
};

template <typename T>
struct PlusPlus {
  using Type = T;
  using Sum = tfsal::Sum<T>;
  static constexpr int kSums = 2;
  const T* g;
  const Sum* totals;

  template <int kCount, int N>
  __device__ void Add(int64_t at, int64_t step, int64_t channel,
                      Sum (&sums)[2][N]) const {
    Sum v[kCount][N], total[1][N];
    Load(g + at, step, v);
    Load(totals + channel, 0, total);
    for (int i = 0; i < kCount; ++i)
      for (int n = 0; n < N; ++n) {
        const Sum below = 2 + total[0][n] * v[i][n];
        const bool none = v[i][n] <= 0 || below == 0;  // not NaN, which stays
        const Sum share = 1 / (none ? 1 : below);      // with no branch
        sums[0][n] += none ? 0 : share * v[i][n];
        sums[1][n] += none ? 0 : share;
      }
  }
};

// Sums of chunks, [kSums, examples, chunks, channels].
template <typename S, int kSumsEach>
struct Partials {
  using Sum = S;
  static constexpr int kSums = kSumsEach;
  S* sums;
  int64_t size;  // of each of the kSums

  template <int kCount>
  __device__ void Add(int64_t at, int64_t step, int64_t,
                      S (&into)[kSums][1]) const {
    for (int s = 0; s < kSums; ++s) {
      S v[kCount][1];
      Load(sums + s * size + at, step, v);
      for (int i = 0; i < kCount; ++i) into[s][0] += v[i][0];
    }
  }
  __device__ void operator()(int64_t at, const S (&column)[kSums]) const {
    for (int s = 0; s < kSums; ++s) sums[s * size + at] = column[s];
  }
};

template <typename S>
struct Mean {
  S* means;
  S count;
  __device__ void operator()(int64_t at, const S (&column)[1]) const {
    means[at] = column[0] / count;
  }
};

template <typename S>
struct Ratio {
  S* ratios;
  S epsilon;
  __device__ void operator()(int64_t at, const S (&column)[2]) const {
    ratios[at] = column[0] / (column[1] + epsilon);
  }
};

template <typename S>
struct Normalized {
  S* weights;
  bool normalized;
  __device__ void operator()(int64_t at, const S (&column)[2]) const {
    const bool divide = normalized && column[1] != 0;
    weights[at] = divide ? column[0] / column[1] : column[0];
  }
};

}  // namespace tfsal::cuda::internal

#endif  // TFSAL_CC_KERNELS_CAM_LOOPS_CU_H_
