// How fast this machine reads memory: what no kernel can pass.
#include <immintrin.h>

#include <cstdint>
#include <thread>
#include <vector>

namespace {

constexpr int64_t kAhead = 2048;  // bytes, as in the kernels

__attribute__((target("avx2"))) float SumPart(const float* x, int64_t n) {
  __m256 sums[4] = {};
  for (int64_t i = 0; i + 32 <= n; i += 32) {
    _mm_prefetch(reinterpret_cast<const char*>(x + i) + kAhead, _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(x + i + 16) + kAhead,
                 _MM_HINT_T0);
    for (int j = 0; j < 4; ++j)
      sums[j] = _mm256_add_ps(sums[j], _mm256_loadu_ps(x + i + 8 * j));
  }
  float lanes[8];
  _mm256_storeu_ps(lanes, _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]),
                                        _mm256_add_ps(sums[2], sums[3])));
  float total = 0;
  for (float lane : lanes) total += lane;
  return total;
}

// The kernels' walk over memory, without arithmetic: one load for each line.
float TouchPart(const float* x, const float* y, int64_t n) {
  uint32_t seen = 0;
  for (int64_t i = 0; i + 16 <= n; i += 16) {
    __builtin_prefetch(reinterpret_cast<const char*>(x + i) + kAhead);
    __builtin_prefetch(reinterpret_cast<const char*>(y + i) + kAhead);
    seen |= reinterpret_cast<const volatile uint32_t*>(x)[i];
    seen |= reinterpret_cast<const volatile uint32_t*>(y)[i];
  }
  return seen == 1;
}

template <typename Part>
float InParts(int64_t n, int threads, const Part& part) {
  std::vector<float> totals(threads);
  std::vector<std::thread> workers;
  for (int t = 0; t < threads; ++t)
    workers.emplace_back([&, t] {
      const int64_t first = n / 16 * t / threads * 16;
      const int64_t last = n / 16 * (t + 1) / threads * 16;
      totals[t] = part(first, last - first);
    });
  float total = 0;
  for (int t = 0; t < threads; ++t) {
    workers[t].join();
    total += totals[t];
  }
  return total;
}

}  // namespace

extern "C" float sum_both(const float* x, const float* y, int64_t n,
                          int threads) {
  return InParts(n, threads, [&](int64_t first, int64_t count) {
    return SumPart(x + first, count) + SumPart(y + first, count);
  });
}

extern "C" float touch_both(const float* x, const float* y, int64_t n,
                            int threads) {
  return InParts(n, threads, [&](int64_t first, int64_t count) {
    return TouchPart(x + first, y + first, count);
  });
}
