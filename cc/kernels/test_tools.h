// What the tests of the kernels share.
#ifndef TFSAL_CC_KERNELS_TEST_TOOLS_H_
#define TFSAL_CC_KERNELS_TEST_TOOLS_H_

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>

#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                        \
    }                                                                      \
  } while (false)

namespace tfsal {

inline std::mt19937_64 random_bits(20210709);

inline int64_t Uniform(int64_t least, int64_t most) {
  return std::uniform_int_distribution<int64_t>(least, most)(random_bits);
}

// An array that ends where its allocation does, so that an address sanitizer
// sees what goes past it. It starts `offset` values into the allocation, on no
// boundary but its type's.
template <typename T>
class Array {
 public:
  explicit Array(int64_t size, int64_t offset = 0)
      : size_(size), offset_(offset), all_(new T[offset + size]) {
    std::memset(static_cast<void*>(all_.get()), 0xff,  // NaN
                (offset + size) * sizeof(T));
  }
  ~Array() {
    const auto* bytes = reinterpret_cast<const unsigned char*>(all_.get());
    for (size_t i = 0; i < offset_ * sizeof(T); ++i) CHECK(bytes[i] == 0xff);
  }
  T* data() { return all_.get() + offset_; }
  const T* data() const { return all_.get() + offset_; }
  int64_t size() const { return size_; }
  T& operator[](int64_t i) { return data()[i]; }
  const T& operator[](int64_t i) const { return data()[i]; }

 private:
  const int64_t size_, offset_;
  const std::unique_ptr<T[]> all_;
};

template <typename T>
bool SameBits(const Array<T>& x, const Array<T>& y, int64_t first,
              int64_t end) {
  return std::memcmp(x.data() + first, y.data() + first,
                     (end - first) * sizeof(T)) == 0;
}

template <typename T>
T FromBits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(value));  // the low ones
  return value;
}

}  // namespace tfsal

#endif  // TFSAL_CC_KERNELS_TEST_TOOLS_H_
