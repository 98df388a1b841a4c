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

// N values from p on; where N is not 1, p is a multiple of 16 bytes.
template <int N, typename T>
__device__ void Load(const T* p, Sum<T> (&values)[N]) {
  if constexpr (N == 1) {
    values[0] = Value(*p);
  } else {
    static_assert(N % kWide<T> == 0);
    for (int i = 0; i < N; i += kWide<T>) {
      const uint4 bits = __ldg(reinterpret_cast<const uint4*>(p + i));
      T raw[kWide<T>];
      memcpy(raw, &bits, sizeof(bits));
      for (int j = 0; j < kWide<T>; ++j) values[i + j] = Value(raw[j]);
    }
  }
}

// The second factors of dot products: of example i and position p, those from
// values + i * example + p * position on.
template <typename F>
struct Factors {
  const F* values;
  int64_t example, position;
  bool positive;  // of the factors only the positive part
};

// cam = sum over channels of a and factors. Each position has `lanes` lanes of
// a warp, a power of 2.
template <int N, typename T, typename F>
__global__ void __launch_bounds__(kThreads)
    SumRows(const T* a, Factors<F> factors, CamShape shape, int lanes,
            bool relu, Sum<T>* cam) {
  const int thread = threadIdx.x, lane = thread % lanes;
  const int64_t rows = kThreads / lanes;
  for (int64_t i = blockIdx.y; i < shape.examples; i += gridDim.y) {
    for (int64_t first = blockIdx.x * rows; first < shape.positions;
         first += gridDim.x * rows) {
      const int64_t p = first + thread / lanes;
      const int64_t row = i * shape.positions + p;
      Sum<T> total = 0;
      if (p < shape.positions) {
        const T* x = a + row * shape.channels;
        const F* y =
            factors.values + i * factors.example + p * factors.position;
#pragma unroll 4
        for (int64_t k = lane * N; k < shape.channels; k += lanes * N) {
          Sum<T> u[N], v[N];
          Load(x + k, u);
          Load(y + k, v);
          for (int n = 0; n < N; ++n)
            total += u[n] * (factors.positive && v[n] < 0 ? 0 : v[n]);
        }
      }
      // The loops are the same for a whole block: no lane is missing here.
      for (int step = lanes / 2; step > 0; step /= 2)
        total += __shfl_down_sync(kWholeWarp, total, step, lanes);
      if (lane == 0 && p < shape.positions)
        cam[row] = relu && total < 0 ? 0 : total;
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
    SumColumns(Terms terms, CamShape shape, int64_t rows, int lanes,
               Finish finish) {
  using S = typename Terms::Sum;
  __shared__ S shared[N][kThreads];
  const int thread = threadIdx.x;
  const int64_t first = blockIdx.y * rows;
  const int64_t end = min(first + rows, shape.positions);
  const int64_t width = lanes * N;
  for (int64_t i = blockIdx.z; i < shape.examples; i += gridDim.z) {
    for (int64_t left = blockIdx.x * width; left < shape.channels;
         left += gridDim.x * width) {
      const int64_t k = left + thread % lanes * N;
      const bool inside = k < shape.channels;
      S sums[Terms::kSums][N] = {};
      if (inside) {
#pragma unroll 4
        for (int64_t p = first + thread / lanes; p < end; p += kThreads / lanes)
          terms.Add((i * shape.positions + p) * shape.channels + k,
                    i * shape.channels + k, sums);
      }
      for (auto& sum : sums) SumBlock(shared, lanes, sum);
      if (inside && thread < lanes) {
        for (int n = 0; n < N; ++n) {
          S column[Terms::kSums];
          for (int s = 0; s < Terms::kSums; ++s) column[s] = sums[s][n];
          finish((i * gridDim.y + blockIdx.y) * shape.channels + k + n, column);
        }
      }
    }
  }
}

// Terms add those of N channels: `at` is the place of the first in [examples,
// positions, channels], `channel` its place in [examples, channels].

template <typename T>
struct Values {
  using Type = T;
  using Sum = tfsal::Sum<T>;
  static constexpr int kSums = 1;
  const T* x;

  template <int N>
  __device__ void Add(int64_t at, int64_t, Sum (&sums)[1][N]) const {
    Sum v[N];
    Load(x + at, v);
    for (int n = 0; n < N; ++n) sums[0][n] += v[n];
  }
};

template <typename T>
struct Products {
  using Type = T;
  using Sum = tfsal::Sum<T>;
  static constexpr int kSums = 2;
  const T *a, *g;

  template <int N>
  __device__ void Add(int64_t at, int64_t, Sum (&sums)[2][N]) const {
    Sum u[N], v[N];
    Load(a + at, u);
    Load(g + at, v);
    for (int n = 0; n < N; ++n) {
      sums[0][n] += u[n] * v[n];
      sums[1][n] += u[n];
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

  template <int N>
  __device__ void Add(int64_t at, int64_t channel, Sum (&sums)[2][N]) const {
    Sum v[N], total[N];
    Load(g + at, v);
    Load(totals + channel, total);
    for (int n = 0; n < N; ++n) {
      const Sum below = 2 + total[n] * v[n];
      const bool none = v[n] <= 0 || below == 0;  // false for NaN, which stays
      const Sum share = none ? 0 : 1 / below;
      sums[0][n] += none ? 0 : share * v[n];
      sums[1][n] += share;
    }
  }
};

// Sums of chunks, [kSums, examples, chunks, channels].
template <typename S, int kCount>
struct Partials {
  using Sum = S;
  static constexpr int kSums = kCount;
  S* sums;
  int64_t size;  // of each of the kSums

  __device__ void Add(int64_t at, int64_t, S (&into)[kSums][1]) const {
    for (int s = 0; s < kSums; ++s) into[s][0] += sums[s * size + at];
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
