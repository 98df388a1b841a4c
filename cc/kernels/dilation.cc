#include "cc/kernels/dilation.h"

#include <algorithm>
#include <cstdlib>

namespace tfsal {
namespace {

// Pixels of one label in a row, [first, end).
struct Run {
  int32_t row, first, end;
};

// All runs of an image, label after label; those of label l end at ends[l].
struct Runs {
  Runs(const int32_t* labels, const PixelGrid& grid) {
    const auto each = [&](const auto& run) {
      for (int64_t y = 0; y < grid.height; ++y) {
        const int32_t* row = labels + y * grid.width;
        for (int64_t x = 0, first = 0; x < grid.width; first = x) {
          while (x < grid.width && row[x] == row[first]) ++x;
          run(row[first],
              Run{static_cast<int32_t>(y), static_cast<int32_t>(first),
                  static_cast<int32_t>(x)});
        }
      }
    };
    ends.assign(*std::max_element(labels, labels + grid.Pixels()) + int64_t{1},
                0);
    each([&](int32_t label, const Run&) { ++ends[label]; });
    int64_t start = 0;
    for (int64_t& end : ends) {
      const int64_t count = end;
      end = start;
      start += count;
    }
    runs.resize(start);
    each([&](int32_t label, const Run& run) { runs[ends[label]++] = run; });
  }
  std::vector<Run> runs;
  std::vector<int64_t> ends;
};

// Draws runs, each dilated by a disk, and hands out the words that were drawn.
class Canvas {
 public:
  Canvas(const PixelGrid& grid, int64_t radius)
      : grid_(grid), row_words_(grid.RowWords()), words_(grid.Words()) {
    // A larger disk covers as much: the whole image.
    radius = std::min(radius, grid.height + grid.width);
    for (int64_t y = 0, x = radius; y <= radius; ++y) {
      while (x * x + y * y > radius * radius) --x;
      reach_.push_back(x);
    }
    Clear();
  }

  void Draw(const Run& run) {
    const int64_t radius = reach_.size() - 1;
    const int64_t top = std::max<int64_t>(run.row - radius, 0);
    const int64_t bottom = std::min(run.row + radius, grid_.height - 1);
    top_ = std::min(top_, top);
    bottom_ = std::max(bottom_, bottom);
    left_ = std::min(left_, std::max<int64_t>(run.first - radius, 0));
    right_ = std::max(right_, std::min(run.end + radius, grid_.width) - 1);
    for (int64_t y = top; y <= bottom; ++y) {
      const int64_t reach = reach_[std::abs(y - run.row)];
      Fill(words_.data() + y * row_words_,
           std::max<int64_t>(run.first - reach, 0),
           std::min(run.end + reach, grid_.width));
    }
  }

  // Calls take(word) for every word with a bit, in order, and clears them.
  template <typename Take>
  void TakeAll(const Take& take) {
    for (int64_t y = top_; y <= bottom_; ++y) {
      for (int64_t x = left_ / kWordBits; x <= right_ / kWordBits; ++x) {
        const int64_t at = y * row_words_ + x;
        if (words_[at] != 0) take(Word{at, words_[at]});
        words_[at] = 0;
      }
    }
    Clear();
  }

 private:
  static void Fill(uint64_t* row, int64_t first, int64_t end) {
    const int64_t begin = first / kWordBits, last = (end - 1) / kWordBits;
    for (int64_t i = begin; i <= last; ++i) {
      row[i] |= Bits(i == begin ? first % kWordBits : 0,
                     i == last ? (end - 1) % kWordBits + 1 : kWordBits);
    }
  }

  void Clear() {
    top_ = grid_.height;
    left_ = grid_.width;
    bottom_ = right_ = -1;
  }

  const PixelGrid grid_;
  const int64_t row_words_;
  std::vector<int64_t> reach_;  // of the disk to either side, row by row
  std::vector<uint64_t> words_;
  int64_t top_, bottom_, left_, right_;  // around what was drawn
};

}  // namespace

Masks Dilate(const int32_t* labels, const PixelGrid& grid, int64_t radius,
             int64_t min_pixels, const Attribution& attribution) {
  const Runs runs(labels, grid);
  Canvas canvas(grid, radius);
  Masks masks;
  auto run = runs.runs.begin();
  for (const int64_t end : runs.ends) {
    const int64_t start = masks.words.size();
    for (; run != runs.runs.begin() + end; ++run) canvas.Draw(*run);
    Amount amount;
    canvas.TakeAll([&](const Word& word) {
      masks.words.push_back(word);
      amount.Add(attribution.Of(word));
    });
    if (amount.count < min_pixels) {
      masks.words.resize(start);
    } else {
      masks.ends.push_back(masks.words.size());
      masks.amounts.push_back(amount);
    }
  }
  return masks;
}

}  // namespace tfsal
