// What the fuzzers of the kernels share.
//
// With -fsanitize=fuzzer libFuzzer calls LLVMFuzzerTestOneInput(). With
// -DTFSAL_FUZZ_MAIN a fuzzer is a program of its own, for compilers without
// libFuzzer; its argument is how many pseudo-random inputs it tries, the same
// ones every time.
#ifndef TFSAL_CC_KERNELS_FUZZ_TOOLS_H_
#define TFSAL_CC_KERNELS_FUZZ_TOOLS_H_

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "cc/kernels/parallel.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace tfsal::fuzz {

// The fuzzer's bytes, over and over.
class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  int Next() { return size_ == 0 ? 0 : data_[next_++ % size_]; }

 private:
  const uint8_t* data_;
  size_t size_, next_ = 0;
};

// One task after the other, the last one first.
class Backwards final : public Parallel {
 public:
  explicit Backwards(int threads) : threads_(threads) {}
  int Threads() const override { return threads_; }
  void For(int64_t count, const std::function<void(int64_t)>& task) override {
    while (count > 0) task(--count);
  }

 private:
  const int threads_;
};

// Values at the end of their allocation, where an address sanitizer sees what
// goes past them.
template <typename T>
struct Array {
  Array(int64_t count, int offset)
      : size(count), all(new T[offset + count]), data(all.get() + offset) {
    std::memset(static_cast<void*>(data), 0xff, size * sizeof(T));  // NaN
  }
  const int64_t size;
  const std::unique_ptr<T[]> all;
  T* const data;
};

// Tries as many inputs as the program's argument says; returns how many.
inline long Inputs(int argc, char** argv) {
  const long inputs = argc > 1 ? std::atol(argv[1]) : 1000;
  std::mt19937_64 random(20210709);
  for (long i = 0; i < inputs; ++i) {
    std::vector<uint8_t> input(random() % 4096);
    for (uint8_t& byte : input) byte = random() >> 56;
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  return inputs;
}

}  // namespace tfsal::fuzz

#endif  // TFSAL_CC_KERNELS_FUZZ_TOOLS_H_
