// The reductions of cam.h on CUDA: the same formulae, NaN and infinity alike.
//
// All pointers are to memory of the device. Every function queues its kernels
// on `stream` and returns at once, with the error of the first launch that
// failed. Nothing is allocated: `scratch` has room for ScratchSums(shape)
// values and is free again when the stream gets past the call. An example's
// result depends on nothing but its values, the shape of one example, and
// whether pointers are multiples of 16 bytes, where the loads are wide.
#ifndef TFSAL_CC_KERNELS_CAM_CU_H_
#define TFSAL_CC_KERNELS_CAM_CU_H_

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <limits>

#include "cc/kernels/cam.h"
#include "cc/kernels/cam_loops.cu.h"
#include "cc/kernels/types.h"

namespace tfsal::cuda {
namespace internal {

// Most lanes for a row, as their logarithms: a warp. For a row of chunks' sums
// fewer, as there is little to read in all.
constexpr int kWarp = 5, kFewLanes = 3;
// Most blocks along an axis of a grid: blocks go round until all is done.
constexpr int64_t kMostBlocks = 65535;
// Most chunks of one example's positions, and so partial sums per channel.
constexpr int64_t kMostChunks = 512;
static_assert(kMostChunks <= kMostBlocks);
// The least that is worth a block of its own, in values and in positions.
constexpr int64_t kLeastValues = 8192, kLeastRows = 64;

// As the least factor: that of all.
template <typename S>
constexpr S kAll = -std::numeric_limits<S>::infinity();

constexpr int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The positions of one example in chunks.
struct Chunks {
  int64_t rows;   // in each chunk but the last
  int64_t count;  // 0 where there are no positions
};

// Chunks follow from the shape of one example alone.
inline Chunks Split(CamShape shape) {
  const int64_t least = kLeastValues / std::max<int64_t>(shape.channels, 1);
  const int64_t rows =
      std::max({kLeastRows, least, DivideUp(shape.positions, kMostChunks)});
  return {rows, DivideUp(shape.positions, rows)};
}

// Whether rows can be read in loads of 16 bytes.
template <typename T>
bool Wide(int64_t channels, std::initializer_list<const void*> pointers) {
  return channels % kWide<T> == 0 &&
         std::all_of(pointers.begin(), pointers.end(), [](const void* p) {
           return reinterpret_cast<uintptr_t>(p) % sizeof(uint4) == 0;
         });
}

// Logarithm of the lanes for a row of `loads` loads.
inline int LogLanes(int64_t loads, int most) {
  int log = 0;
  while (int64_t{1} << log < loads && log < most) ++log;
  return log;
}

inline unsigned Blocks(int64_t count) {
  return static_cast<unsigned>(std::min(count, kMostBlocks));
}

template <typename... P, typename... A>
cudaError_t Launch(void (*kernel)(P...), dim3 grid, cudaStream_t stream,
                   const A&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = kThreads;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

template <int N, typename T, typename F>
cudaError_t LaunchRows(const T* a, const Factors<F>& factors, CamShape shape,
                       bool relu, Sum<T>* cam, cudaStream_t stream) {
  if (shape.examples == 0 || shape.positions == 0) return cudaSuccess;
  const int log_lanes = LogLanes(DivideUp(shape.channels, N), kWarp);
  const dim3 grid(Blocks(DivideUp(shape.positions, kThreads >> log_lanes)),
                  Blocks(shape.examples));
  return Launch(SumRows<N, T, F>, grid, stream, a, factors, shape, log_lanes,
                relu, cam);
}

template <typename T, typename F>
cudaError_t Draw(const T* a, const Factors<F>& factors, CamShape shape,
                 bool relu, Sum<T>* cam, cudaStream_t stream) {
  return Wide<T>(shape.channels, {a, factors.values})
             ? LaunchRows<kWide<T>>(a, factors, shape, relu, cam, stream)
             : LaunchRows<1>(a, factors, shape, relu, cam, stream);
}

// One map value per row, with nothing to be known before.
template <typename T>
cudaError_t DrawProducts(const T* a, const T* g, CamShape shape, Sum<T> least,
                         bool relu, Sum<T>* cam, cudaStream_t stream) {
  const CamShape rows = {1, shape.examples * shape.positions, shape.channels};
  return Draw(a, Factors<T>{g, 0, shape.channels, least}, rows, relu, cam,
              stream);
}

// A map from weights of channels.
template <typename T>
cudaError_t DrawWeighted(const T* a, const Sum<T>* weights, CamShape shape,
                         bool relu, Sum<T>* cam, cudaStream_t stream) {
  return Draw(a, Factors<Sum<T>>{weights, shape.channels, 0, kAll<Sum<T>>},
              shape, relu, cam, stream);
}

template <int N, typename Terms, typename Finish>
cudaError_t LaunchColumns(const Terms& terms, CamShape shape, Chunks chunks,
                          int most_lanes, const Finish& finish,
                          cudaStream_t stream) {
  if (shape.examples == 0 || shape.channels == 0) return cudaSuccess;
  const int log_lanes = LogLanes(DivideUp(shape.channels, N), most_lanes);
  const dim3 grid(Blocks(DivideUp(shape.channels, N << log_lanes)),
                  Blocks(std::max<int64_t>(chunks.count, 1)),
                  Blocks(shape.examples));
  return Launch(SumColumns<N, Terms, Finish>, grid, stream, terms, shape,
                chunks.rows, log_lanes, finish);
}

template <int N, typename Terms, typename Finish>
cudaError_t SumChunks(const Terms& terms, CamShape shape,
                      typename Terms::Sum* scratch, const Finish& finish,
                      cudaStream_t stream) {
  const Chunks chunks = Split(shape);
  if (chunks.count <= 1)
    return LaunchColumns<N>(terms, shape, chunks, kWarp, finish, stream);
  const CamShape sums = {shape.examples, chunks.count, shape.channels};
  const Partials<typename Terms::Sum, Terms::kSums> partials = {
      scratch, sums.examples * sums.positions * sums.channels};
  const cudaError_t error =
      LaunchColumns<N>(terms, shape, chunks, kWarp, partials, stream);
  if (error != cudaSuccess) return error;
  return LaunchColumns<1>(partials, sums, Chunks{chunks.count, 1}, kFewLanes,
                          finish, stream);
}

// Gives `finish` the sums over all positions: in one step where these are one
// chunk, otherwise by way of the sums of chunks, in `scratch`.
template <typename Terms, typename Finish>
cudaError_t SumPositions(const Terms& terms, bool wide, CamShape shape,
                         typename Terms::Sum* scratch, const Finish& finish,
                         cudaStream_t stream) {
  constexpr int N = kWide<typename Terms::Type>;
  return wide ? SumChunks<N>(terms, shape, scratch, finish, stream)
              : SumChunks<1>(terms, shape, scratch, finish, stream);
}

}  // namespace internal

// Room that the functions with a `scratch` need, in values of Sum<T>.
inline int64_t ScratchSums(CamShape shape) {
  const int64_t chunks = internal::Split(shape).count;
  const int64_t partials = chunks <= 1 ? 0 : 2 * chunks;
  return (1 + partials) * shape.examples * shape.channels;
}

template <typename T>
cudaError_t GradCam(const T* a, const T* g, CamShape shape, bool relu,
                    Sum<T>* cam, Sum<T>* weights, Sum<T>* scratch,
                    cudaStream_t stream) {
  using namespace internal;
  const Mean<Sum<T>> mean = {weights, static_cast<Sum<T>>(shape.positions)};
  const cudaError_t error = SumPositions(
      Values<T>{g}, Wide<T>(shape.channels, {g}), shape, scratch, mean, stream);
  if (error != cudaSuccess) return error;
  return DrawWeighted(a, weights, shape, relu, cam, stream);
}

template <typename T>
cudaError_t GradCamPlusPlus(const T* a, const T* g, CamShape shape,
                            PlusPlusAlpha alpha, bool relu, Sum<T>* cam,
                            Sum<T>* weights, Sum<T>* scratch,
                            cudaStream_t stream) {
  using namespace internal;
  Sum<T>* const totals = scratch;
  Sum<T>* const partials = scratch + shape.examples * shape.channels;
  const int64_t count = alpha == PlusPlusAlpha::kMean ? shape.positions : 1;
  cudaError_t error =
      SumPositions(Values<T>{a}, Wide<T>(shape.channels, {a}), shape, partials,
                   Mean<Sum<T>>{totals, static_cast<Sum<T>>(count)}, stream);
  if (error != cudaSuccess) return error;
  const bool normalized = alpha == PlusPlusAlpha::kNormalized;
  error = SumPositions(PlusPlus<T>{g, totals},
                       Wide<T>(shape.channels, {g, totals}), shape, partials,
                       Normalized<Sum<T>>{weights, normalized}, stream);
  if (error != cudaSuccess) return error;
  return DrawWeighted(a, weights, shape, relu, cam, stream);
}

template <typename T>
cudaError_t XGradCam(const T* a, const T* g, CamShape shape, double epsilon,
                     bool relu, Sum<T>* cam, Sum<T>* weights, Sum<T>* scratch,
                     cudaStream_t stream) {
  using namespace internal;
  const Ratio<Sum<T>> ratio = {weights, static_cast<Sum<T>>(epsilon)};
  const cudaError_t error =
      SumPositions(Products<T>{a, g}, Wide<T>(shape.channels, {a, g}), shape,
                   scratch, ratio, stream);
  if (error != cudaSuccess) return error;
  return DrawWeighted(a, weights, shape, relu, cam, stream);
}

template <typename T>
cudaError_t HiResCam(const T* a, const T* g, CamShape shape, bool relu,
                     Sum<T>* cam, cudaStream_t stream) {
  return internal::DrawProducts(a, g, shape, internal::kAll<Sum<T>>, relu, cam,
                                stream);
}

template <typename T>
cudaError_t LayerCam(const T* a, const T* g, CamShape shape, bool relu,
                     Sum<T>* cam, cudaStream_t stream) {
  return internal::DrawProducts(a, g, shape, /*least=*/0, relu, cam, stream);
}

template <typename T>
cudaError_t WeightedCam(const T* a, const Sum<T>* weights, CamShape shape,
                        bool relu, Sum<T>* cam, cudaStream_t stream) {
  return internal::DrawWeighted(a, weights, shape, relu, cam, stream);
}

}  // namespace tfsal::cuda

#endif  // TFSAL_CC_KERNELS_CAM_CU_H_
