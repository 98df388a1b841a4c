// Sets of an image's pixels as bits in words, and sums of an attribution over
// them that are exact.
#ifndef TFSAL_CC_KERNELS_PIXEL_SETS_H_
#define TFSAL_CC_KERNELS_PIXEL_SETS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace tfsal {

constexpr int kWordBits = 64;

// An image's pixels. A row starts a word: pixel (y, x) is bit x % 64 of word
// y * RowWords() + x / 64.
struct PixelGrid {
  int64_t height, width;

  int64_t Pixels() const { return height * width; }
  int64_t RowWords() const { return (width + kWordBits - 1) / kWordBits; }
  int64_t Words() const { return height * RowWords(); }
};

// The bits [first, end) of a word.
inline uint64_t Bits(int64_t first, int64_t end) {
  const uint64_t all = ~uint64_t{0};
  return (all << first) & (all >> (kWordBits - end));
}

struct Word {
  int64_t at;
  uint64_t bits;
};

// Pixels and their attribution.
struct Amount {
  int64_t sum = 0;  // in the units of Attribution
  int64_t count = 0;

  void Add(const Amount& other) {
    sum += other.sum;
    count += other.count;
  }
  void Subtract(const Amount& other) {
    sum -= other.sum;
    count -= other.count;
  }
  // Whether the mean is greater than other's, exactly.
  bool Above(const Amount& other) const {
    return static_cast<__int128>(sum) * other.count >
           static_cast<__int128>(other.sum) * count;
  }
};

// The attribution of an image in units so small that the sum of all fits in 62
// bits: integers add up to the same in any order.
class Attribution {
 public:
  Attribution(const float* values, const PixelGrid& grid)
      : before_(grid.Words() * kWordBits + 1) {
    const int64_t pixels = grid.Pixels();
    float largest = 0;
    for (int64_t i = 0; i < pixels; ++i) {
      if (!std::isfinite(values[i])) finite_ = false;
      largest = std::max(largest, std::abs(values[i]));
    }
    if (!finite_) return;
    int exponent, bits = 0;
    std::frexp(largest, &exponent);
    while (int64_t{1} << bits < pixels) ++bits;
    unit_ = std::ldexp(1., exponent + bits - 62);
    const double units = 1 / unit_;
    int64_t sum = 0, place = 0;
    for (int64_t y = 0; y < grid.height; ++y) {
      for (int64_t x = 0; x < grid.RowWords() * kWordBits; ++x) {
        before_[place++] = sum;
        if (x < grid.width)
          sum += std::llrint(values[y * grid.width + x] * units);
      }
    }
    before_[place] = sum;
  }

  bool Finite() const { return finite_; }

  double Mean(const Amount& amount) const {
    return static_cast<double>(amount.sum) / amount.count * unit_;
  }

  // What the pixels of a word have together.
  Amount Of(const Word& word) const {
    Amount amount;
    amount.count = __builtin_popcountll(word.bits);
    const int64_t* before = before_.data() + word.at * kWordBits;
    for (uint64_t left = word.bits; left != 0;) {  // run after run of ones
      const int first = __builtin_ctzll(left);
      const uint64_t after = ~left & (~uint64_t{0} << first);
      const int end = after == 0 ? kWordBits : __builtin_ctzll(after);
      amount.sum += before[end] - before[first];
      left &= ~Bits(first, end);
    }
    return amount;
  }

 private:
  std::vector<int64_t> before_;  // the sum of all pixels before each
  double unit_ = 1;
  bool finite_ = true;
};

}  // namespace tfsal

#endif  // TFSAL_CC_KERNELS_PIXEL_SETS_H_
