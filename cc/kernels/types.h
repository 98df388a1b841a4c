// The element types of the kernels, and the type in which each is summed.
#ifndef TFSAL_CC_KERNELS_TYPES_H_
#define TFSAL_CC_KERNELS_TYPES_H_

#include <cstdint>

namespace tfsal {

// IEEE 754 binary16 and bfloat16, as bits: the kernels only ever read them.
struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

template <typename T>
struct SumOf {
  using Type = float;
};
template <>
struct SumOf<double> {
  using Type = double;
};

// What T is summed in: float, or double for double.
template <typename T>
using Sum = typename SumOf<T>::Type;

}  // namespace tfsal

#endif  // TFSAL_CC_KERNELS_TYPES_H_
