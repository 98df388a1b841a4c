// Checks the CUDA kernels against the CPU's for double on random shapes, and
// tells how the CPU's for other types compare; then times the CUDA kernels.
// Exits with 0 when all is well, 1 when not, 77 where there is no device.
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

#include "cc/kernels/cuda_cases.h"

namespace tfsal {
namespace {

constexpr int kRandomShapes = 400;
constexpr int64_t kRandomValues = 200000;  // in a tensor, at most

// -------------------------------------------------------------------- checking

struct Case {
  CamShape shape;
  Kind a, g;
  bool relu;
  int64_t offset[5];  // of A, G, map, weights, scratch
};

// What rounding errors of the weights and the map of one example are relative
// to, where sums are S: the sums of absolute terms, and what becomes of them in
// a quotient.
template <typename S>
struct Scale {
  std::vector<double> weights, cam;

  Scale(int reduction, const double* a, const double* g, const double* given,
        const Case& check)
      : weights(check.shape.channels), cam(check.shape.positions) {
    const int64_t positions = check.shape.positions;
    const int64_t channels = check.shape.channels;
    for (int64_t k = 0; k < channels; ++k) {
      double sum = 0, size = 0, product = 0, products = 0, slopes = 0;
      for (int64_t at = k; at < positions * channels; at += channels) {
        sum += a[at];
        size += std::abs(a[at]) + kTiny;
        product += a[at] * g[at];
        products += std::abs(a[at] * g[at]) + kTiny;
        slopes += std::abs(g[at]) + kTiny;
      }
      if (reduction == kGradCam) weights[k] = slopes / positions;
      if (reduction == kWeightedCam) weights[k] = std::abs(given[k]);
      if (reduction == kXGradCam) {
        const double below = sum + kEpsilon;
        weights[k] =
            (products + std::abs(product / below) * size) / std::abs(below);
      }
      if (IsPlusPlus(reduction)) {
        const double count = reduction == kPlusPlusMean ? positions : 1;
        weights[k] =
            PlusPlus(reduction, g + k, sum / count, size / count, check);
      }
    }
    for (int64_t p = 0; p < positions; ++p)
      for (int64_t k = 0; k < channels; ++k) {
        const int64_t at = p * channels + k;
        double factor = weights[k];
        if (reduction == kHiResCam) factor = g[at];
        if (reduction == kLayerCam) factor = std::max(0., g[at]);
        cam[p] += std::abs(a[at] * factor) + kTiny;
      }
  }

 private:
  // Below it, the error of rounding is not relative to the value.
  static constexpr double kTiny = std::numeric_limits<S>::min();
  // Relative to the sum of absolute terms, what is nothing but rounding errors.
  static constexpr double kNearZero = 16 * std::numeric_limits<S>::epsilon();

  static double PlusPlus(int reduction, const double* g, double total,
                         double size, const Case& check) {
    const bool exact = check.a == kIntegers || check.a == kSpecial;
    double weight = 0, weights = 0, alpha = 0, alphas = 0;
    for (int64_t p = 0; p < check.shape.positions; ++p) {
      const double v = g[p * check.shape.channels];
      const double below = 2 + total * v;
      if (v <= 0 || std::isinf(below) || (below == 0 && exact)) continue;
      const double least = exact ? 0 : kNearZero * (2 + size * v);
      const double error = std::abs(below) < least
                               ? kInfinity  // no telling its sign
                               : (2 + size * v) / (below * below);
      weight += v / below;
      weights += error * v + kTiny;
      alpha += 1 / below;
      alphas += error + kTiny;
    }
    if (reduction != kPlusPlusNormalized || alpha == 0) return weights;
    return (weights + std::abs(weight / alpha) * alphas) / std::abs(alpha);
  }
};

// The outputs of a reduction.
template <typename S>
struct Result {
  std::vector<S> cam, weights;
};

template <typename S>
bool SameBits(const std::vector<S>& a, const std::vector<S>& b) {
  return a.empty() ||
         std::memcmp(a.data(), b.data(), a.size() * sizeof(S)) == 0;
}

template <typename S>
double Error(const S* got, const double* want,
             const std::vector<double>& scale) {
  double worst = 0;
  for (size_t i = 0; i < scale.size(); ++i) {
    const double x = got[i], y = want[i];
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    const double error = std::abs(x - y) / scale[i];
    worst = std::max(worst, std::isnan(error) ? kInfinity : error);
  }
  return worst;
}

// The worst errors of a reduction so far.
struct Errors {
  double cuda = 0, cpu = 0;
};

template <typename T>
std::vector<double> Exact(const std::vector<T>& values) {
  std::vector<double> exact;
  for (T value : values) exact.push_back(Element<T>::Value(value));
  return exact;
}

// False when a second run differs in any bit.
template <typename T>
bool Check(const Case& check, Random& random, Errors (&worst)[kReductions]) {
  using S = Sum<T>;
  const CamShape shape = check.shape;
  const int64_t rows = shape.examples * shape.positions;
  const int64_t columns = shape.examples * shape.channels;
  const std::vector<T> a = Fill<T>(random, check.a, rows * shape.channels);
  const std::vector<T> g = Fill<T>(random, check.g, rows * shape.channels);
  const std::vector<S> given = Fill<S>(random, kReal, columns);
  const std::vector<double> exact_a = Exact(a), exact_g = Exact(g);
  const std::vector<double> exact_given = Exact(given);
  const DeviceArray<T> device_a(a, check.offset[0]);
  const DeviceArray<T> device_g(g, check.offset[1]);
  for (int reduction = 0; reduction < kReductions; ++reduction) {
    Result<double> want = {std::vector<double>(rows), exact_given};
    OnCpu(reduction, exact_a.data(), exact_g.data(), shape, check.relu,
          want.cam.data(), want.weights.data());
    Result<S> cpu = {std::vector<S>(rows), given};
    OnCpu(reduction, a.data(), g.data(), shape, check.relu, cpu.cam.data(),
          cpu.weights.data());
    Result<S> runs[2];
    for (Result<S>& run : runs) {
      const DeviceArray<S> cam(rows, check.offset[2]);
      const DeviceArray<S> weights(given, check.offset[3]);
      const DeviceArray<S> scratch(cuda::ScratchSums(shape), check.offset[4]);
      Must(OnCuda(reduction, device_a.get(), device_g.get(), shape, check.relu,
                  cam.get(), weights.get(), scratch.get(), nullptr));
      Must(cudaDeviceSynchronize());
      run = {cam.Read(), weights.Read()};
      scratch.Read();
    }
    if (!SameBits(runs[0].cam, runs[1].cam) ||
        !SameBits(runs[0].weights, runs[1].weights))
      return false;
    for (int64_t i = 0; i < shape.examples; ++i) {
      const int64_t row = i * shape.positions, column = i * shape.channels;
      const Scale<S> scale(reduction, exact_a.data() + row * shape.channels,
                           exact_g.data() + row * shape.channels,
                           exact_given.data() + column, check);
      const auto error = [&](const Result<S>& got) {
        return std::max(
            Error(got.cam.data() + row, want.cam.data() + row, scale.cam),
            Error(got.weights.data() + column, want.weights.data() + column,
                  scale.weights));
      };
      Errors& errors = worst[reduction];
      errors = {std::max(errors.cuda, error(runs[0])),
                std::max(errors.cpu, error(cpu))};
    }
  }
  return true;
}

std::vector<CamShape> Shapes(Random& random) {
  std::vector<CamShape> shapes = {
      {0, 5, 8},       {2, 0, 8},     {2, 5, 0}, {1, 40000, 128},
      {70000, 1, 3},   {66000, 2, 8},  // more than a grid is high
      {100, 170000, 1}};               // ... or wide
  const auto log_uniform = [&](double most) {
    const double log = std::log(most + 1);
    return static_cast<int64_t>(
        std::exp(std::uniform_real_distribution<double>(0, log)(random)));
  };
  for (int i = 0; i < kRandomShapes; ++i) {
    const int64_t examples = Whole(random, 0, 5);
    int64_t channels = log_uniform(2100);
    if (channels > 8 && Whole(random, 0, 1)) channels -= channels % 8;
    const int64_t most =
        kRandomValues / (std::max<int64_t>(examples, 1) * channels);
    shapes.push_back({examples, log_uniform(most) - 1, channels});
  }
  return shapes;
}

// Checks every shape for T, and tells the worst errors.
template <typename T>
bool CheckAll() {
  Random random(1);
  Errors worst[kReductions];
  const std::vector<CamShape> shapes = Shapes(random);
  for (const CamShape& shape : shapes) {
    constexpr Kind kKinds[][2] = {{kReal, kReal},         {kPositive, kReal},
                                  {kIntegers, kIntegers}, {kSpecial, kSpecial},
                                  {kDenormal, kReal},     {kReal, kDenormal}};
    const auto& kind = kKinds[Whole(random, 0, 5)];
    Case check = {shape, kind[0], kind[1], Whole(random, 0, 1) == 1, {}};
    if (Whole(random, 0, 1))
      for (int64_t& offset : check.offset) offset = Whole(random, 0, 1);
    if (!Check<T>(check, random, worst)) {
      std::printf("FAILED: %s, two runs differ\n", Element<T>::kName);
      return false;
    }
  }
  bool good = true;
  for (int i = 0; i < kReductions; ++i) {
    const bool passed = worst[i].cuda <= Element<T>::kTolerance;
    std::printf("%-9s %-21s worst error %.1e, on the CPU %.1e%s\n",
                Element<T>::kName, kNames[i], worst[i].cuda, worst[i].cpu,
                passed ? "" : "  FAILED");
    good = good && passed;
  }
  return good;
}

// ---------------------------------------------------------------------- timing

__global__ void ReadAll(const uint4* values, int64_t count, unsigned* sums) {
  const int64_t thread = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  unsigned sum = 0;
#pragma unroll 4
  for (int64_t i = thread; i < count; i += int64_t{gridDim.x} * blockDim.x) {
    const uint4 v = __ldg(values + i);
    sum += v.x + v.y + v.z + v.w;
  }
  sums[thread] = sum;
}

// Seconds that `work` takes on the stream, the median of 21.
double Seconds(cudaStream_t stream, const std::function<cudaError_t()>& work) {
  cudaEvent_t begin, end;
  Must(cudaEventCreate(&begin));
  Must(cudaEventCreate(&end));
  float times[21];
  for (int i = -3; i < 21; ++i) {  // at first some that do not count
    Must(cudaEventRecord(begin, stream));
    Must(work());
    Must(cudaEventRecord(end, stream));
    Must(cudaEventSynchronize(end));
    Must(cudaEventElapsedTime(&times[std::max(i, 0)], begin, end));
  }
  Must(cudaEventDestroy(begin));
  Must(cudaEventDestroy(end));
  std::nth_element(times, times + 10, times + 21);
  return times[10] / 1e3;
}

template <typename T>
void Time(CamShape shape) {
  constexpr int kBlocks = 4096;
  const int64_t rows = shape.examples * shape.positions;
  const int64_t bytes = rows * shape.channels * sizeof(T);
  Random random(1);
  const std::vector<T> values = Fill<T>(random, kReal, rows * shape.channels);
  const DeviceArray<T> a(values, 0), g(values, 0);
  const DeviceArray<Sum<T>> cam(rows, 0);
  const DeviceArray<Sum<T>> weights(
      std::vector<Sum<T>>(shape.examples * shape.channels, 1), 0);
  const DeviceArray<Sum<T>> scratch(cuda::ScratchSums(shape), 0);
  const DeviceArray<unsigned> sums(kBlocks * cuda::internal::kThreads, 0);
  cudaStream_t stream;
  Must(cudaStreamCreate(&stream));
  const double read =
      bytes / Seconds(stream, [&] {
        return cuda::internal::Launch(
            ReadAll, kBlocks, stream, reinterpret_cast<const uint4*>(a.get()),
            static_cast<int64_t>(bytes / sizeof(uint4)), sums.get());
      });
  const double copy =
      2 * bytes / Seconds(stream, [&] {
        return cudaMemcpyAsync(g.get(), a.get(), bytes,
                               cudaMemcpyDeviceToDevice, stream);
      });
  std::printf("\n%s [%lld, %lld, %lld], %.0f MB each of A and G\n",
              Element<T>::kName, static_cast<long long>(shape.examples),
              static_cast<long long>(shape.positions),
              static_cast<long long>(shape.channels), bytes / 1e6);
  std::printf("%-21s %5.0f GB/s\n%-21s %5.0f GB/s\n", "copy", copy / 1e9,
              "read only", read / 1e9);
  for (int reduction = 0; reduction < kReductions; ++reduction) {
    const double seconds = Seconds(stream, [&] {
      return OnCuda(reduction, a.get(), g.get(), shape, /*relu=*/true,
                    cam.get(), weights.get(), scratch.get(), stream);
    });
    const double speed =
        (kReads[reduction] * bytes + rows * sizeof(Sum<T>)) / seconds;
    std::printf("%-21s %5.0f GB/s  %.2f of the copy  %.2f of reading\n",
                kNames[reduction], speed / 1e9, speed / copy, speed / read);
  }
  Must(cudaStreamDestroy(stream));
}

int Main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("No CUDA device: nothing was checked.");
    return 77;
  }
  cudaDeviceProp device;
  Must(cudaGetDeviceProperties(&device, 0));
  std::printf("%s\n", device.name);
  bool good = CheckAll<float>();
  good = CheckAll<double>() && good;
  good = CheckAll<Half>() && good;
  good = CheckAll<BFloat16>() && good;
  std::puts(good ? "passed" : "FAILED");
  for (const CamShape& shape :
       {CamShape{1, 128 * 128 * 64, 32}, CamShape{64, 56 * 56, 256},
        CamShape{512, 49, 2048}}) {
    Time<float>(shape);
    Time<Half>(shape);
  }
  return good ? 0 : 1;
}

}  // namespace
}  // namespace tfsal

int main() { return tfsal::Main(); }
