// The inner loops of the kernels, on one thread, in the best instructions that
// the processor has.
#ifndef TFSAL_CC_KERNELS_LOOPS_H_
#define TFSAL_CC_KERNELS_LOOPS_H_

#include <cstdint>

#include "cc/kernels/types.h"

namespace tfsal {

// Rows are positions: `rows` of `channels` values each.
template <typename T>
struct Loops {
  // cam[r] = sum_k a[r, k] g[r, k]; with `positive` of g's positive part.
  void (*dot)(const T* a, const T* g, int64_t rows, int64_t channels,
              bool positive, bool relu, Sum<T>* cam);
  // cam[r] = sum_k a[r, k] weights[k].
  void (*weigh)(const T* a, const Sum<T>* weights, int64_t rows,
                int64_t channels, bool relu, Sum<T>* cam);
  // sums[k] += sum_r x[r, k].
  void (*sum)(const T* x, int64_t rows, int64_t channels, Sum<T>* sums);
  // products[k] += sum_r a[r, k] g[r, k] and sums[k] += sum_r a[r, k].
  void (*sum_products)(const T* a, const T* g, int64_t rows, int64_t channels,
                       Sum<T>* products, Sum<T>* sums);
  // For g[r, k] > 0, with alpha = 1 / (2 + totals[k] g[r, k]):
  // weights[k] += sum_r alpha g[r, k] and alphas[k] += sum_r alpha.
  void (*plus_plus)(const T* g, const Sum<T>* totals, int64_t rows,
                    int64_t channels, Sum<T>* weights, Sum<T>* alphas);
};

template <typename T>
const Loops<T>& BestLoops();

const char* BestInstructions();

}  // namespace tfsal

#endif  // TFSAL_CC_KERNELS_LOOPS_H_
