#include "cc/kernels/xrai.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace tfsal {
namespace {

constexpr int64_t kMostPixels = int64_t{1} << 28;
constexpr int64_t kFewLabels = int64_t{1} << 16;
constexpr int kWordBits = 64;

int64_t Pixels(const SegmentsShape& shape) {
  return shape.height * shape.width;
}

// Sets of pixels are bits in words. A row starts a word: pixel (y, x) is bit
// x % 64 of word y * row_words + x / 64.
int64_t RowWords(const SegmentsShape& shape) {
  return (shape.width + kWordBits - 1) / kWordBits;
}

// The bits [first, end) of a word.
uint64_t Bits(int64_t first, int64_t end) {
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
  Attribution(const float* values, const SegmentsShape& shape)
      : words_(RowWords(shape) * shape.height),
        before_(words_ * kWordBits + 1) {
    const int64_t pixels = Pixels(shape);
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
    for (int64_t y = 0; y < shape.height; ++y) {
      for (int64_t x = 0; x < RowWords(shape) * kWordBits; ++x) {
        before_[place++] = sum;
        if (x < shape.width)
          sum += std::llrint(values[y * shape.width + x] * units);
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
  const int64_t words_;
  std::vector<int64_t> before_;  // the sum of all pixels before each
  double unit_ = 1;
  bool finite_ = true;
};

// Dilated segments of one scale: the words that hold a pixel of theirs.
struct Masks {
  std::vector<Word> words;
  std::vector<int64_t> ends;  // of each mask's words
  std::vector<Amount> amounts;
};

// Pixels of one label in a row, [first, end).
struct Run {
  int32_t row, first, end;
};

// All runs of an image, label after label; those of label l end at ends[l].
struct Runs {
  Runs(const int32_t* labels, const SegmentsShape& shape) {
    const auto each = [&](const auto& run) {
      for (int64_t y = 0; y < shape.height; ++y) {
        const int32_t* row = labels + y * shape.width;
        for (int64_t x = 0, first = 0; x < shape.width; first = x) {
          while (x < shape.width && row[x] == row[first]) ++x;
          run(row[first],
              Run{static_cast<int32_t>(y), static_cast<int32_t>(first),
                  static_cast<int32_t>(x)});
        }
      }
    };
    ends.assign(*std::max_element(labels, labels + Pixels(shape)) + int64_t{1},
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
  Canvas(const SegmentsShape& shape, int64_t radius)
      : shape_(shape),
        row_words_(RowWords(shape)),
        words_(row_words_ * shape.height) {
    // A larger disk covers as much: the whole image.
    radius = std::min(radius, shape.height + shape.width);
    for (int64_t y = 0, x = radius; y <= radius; ++y) {
      while (x * x + y * y > radius * radius) --x;
      reach_.push_back(x);
    }
    Clear();
  }

  void Draw(const Run& run) {
    const int64_t radius = reach_.size() - 1;
    const int64_t top = std::max<int64_t>(run.row - radius, 0);
    const int64_t bottom = std::min(run.row + radius, shape_.height - 1);
    top_ = std::min(top_, top);
    bottom_ = std::max(bottom_, bottom);
    left_ = std::min(left_, std::max<int64_t>(run.first - radius, 0));
    right_ = std::max(right_, std::min(run.end + radius, shape_.width) - 1);
    for (int64_t y = top; y <= bottom; ++y) {
      const int64_t reach = reach_[std::abs(y - run.row)];
      Fill(words_.data() + y * row_words_,
           std::max<int64_t>(run.first - reach, 0),
           std::min(run.end + reach, shape_.width));
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
    top_ = shape_.height;
    left_ = shape_.width;
    bottom_ = right_ = -1;
  }

  const SegmentsShape shape_;
  const int64_t row_words_;
  std::vector<int64_t> reach_;  // of the disk to either side, row by row
  std::vector<uint64_t> words_;
  int64_t top_, bottom_, left_, right_;  // around what was drawn
};

// The segments that are large enough to make a region.
Masks Dilate(const int32_t* labels, const SegmentsShape& shape,
             const XraiOptions& options, const Attribution& attribution) {
  const Runs runs(labels, shape);
  Canvas canvas(shape, options.radius);
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
    if (amount.count < options.min_pixel_diff) {
      masks.words.resize(start);
    } else {
      masks.ends.push_back(masks.words.size());
      masks.amounts.push_back(amount);
    }
  }
  return masks;
}

// A segment as the ranking sees it.
struct Candidate {
  const Word *words, *end;
  Amount amount;  // full: of the pixels that are not covered yet
};

std::vector<Candidate> Candidates(const std::vector<Masks>& scales) {
  std::vector<Candidate> all;
  for (const Masks& masks : scales) {
    int64_t start = 0;
    for (size_t i = 0; i < masks.ends.size(); ++i) {
      const Word* words = masks.words.data();
      all.push_back({words + start, words + masks.ends[i], masks.amounts[i]});
      start = masks.ends[i];
    }
  }
  return all;
}

// The map and the ranking of one image, region by region.
class Ranking {
 public:
  Ranking(const SegmentsShape& shape, const Attribution& attribution,
          float* map, int32_t* ranking)
      : shape_(shape),
        attribution_(attribution),
        map_(map),
        ranking_(ranking),
        left_(RowWords(shape) * shape.height) {
    std::fill_n(ranking, Pixels(shape), -1);
    for (size_t i = 0; i < left_.size(); ++i) {
      const int64_t x = i % RowWords(shape) * kWordBits;
      left_[i] = Bits(0, std::min<int64_t>(shape.width - x, kWordBits));
    }
  }

  // Takes what is left of a segment as the next region; returns its words.
  const std::vector<Word>& Take(const Candidate& candidate) {
    region_.clear();
    Amount amount;
    for (const Word* word = candidate.words; word != candidate.end; ++word) {
      const Word part = {word->at, word->bits & left_[word->at]};
      if (part.bits == 0) continue;
      amount.Add(attribution_.Of(part));
      left_[part.at] &= ~part.bits;
      region_.push_back(part);
    }
    Paint(amount, next_++);
    covered_ += amount.count;
    return region_;
  }

  int64_t CountLeft(const Candidate& candidate) const {
    int64_t count = 0;
    for (const Word* word = candidate.words; word != candidate.end; ++word)
      count += __builtin_popcountll(word->bits & left_[word->at]);
    return count;
  }

  double CoveredPart() const {
    return static_cast<double>(covered_) / Pixels(shape_);
  }

  // Gives all that is left the mean of its attribution.
  void TakeRest() {
    region_.clear();
    Amount amount;
    for (size_t i = 0; i < left_.size(); ++i) {
      if (left_[i] == 0) continue;
      region_.push_back({static_cast<int64_t>(i), left_[i]});
      amount.Add(attribution_.Of(region_.back()));
    }
    Paint(amount, -1);
  }

 private:
  void Paint(const Amount& amount, int32_t rank) {
    if (amount.count == 0) return;
    const float mean = static_cast<float>(attribution_.Mean(amount));
    const int64_t row_words = RowWords(shape_);
    for (const Word& word : region_) {
      const int64_t start =
          word.at / row_words * shape_.width + word.at % row_words * kWordBits;
      for (uint64_t left = word.bits; left != 0; left &= left - 1) {
        const int64_t pixel = start + __builtin_ctzll(left);
        map_[pixel] = mean;
        ranking_[pixel] = rank;
      }
    }
  }

  const SegmentsShape shape_;
  const Attribution& attribution_;
  float* const map_;
  int32_t* const ranking_;
  std::vector<uint64_t> left_;  // pixels that no region has covered
  std::vector<Word> region_;
  int64_t covered_ = 0;
  int32_t next_ = 0;
};

// Subtracts from a candidate what it has in common with the new region, whose
// words are also found by their place.
void Uncover(const std::vector<Word>& region, const std::vector<uint64_t>& bits,
             const Attribution& attribution, Candidate& candidate) {
  const auto before = [](const Word& word, int64_t at) { return word.at < at; };
  const Word* word = std::lower_bound(candidate.words, candidate.end,
                                      region.front().at, before);
  for (; word != candidate.end && word->at <= region.back().at; ++word) {
    const uint64_t common = word->bits & bits[word->at];
    if (common != 0)
      candidate.amount.Subtract(attribution.Of({word->at, common}));
  }
}

void RankFull(std::vector<Candidate> candidates, const XraiOptions& options,
              const Attribution& attribution, int64_t words, Ranking& ranking) {
  std::vector<uint64_t> bits(words);
  while (ranking.CoveredPart() <= options.area_threshold) {
    candidates.erase(std::remove_if(candidates.begin(), candidates.end(),
                                    [&](const Candidate& one) {
                                      return one.amount.count <
                                             options.min_pixel_diff;
                                    }),
                     candidates.end());
    if (candidates.empty()) break;
    auto best = candidates.begin();
    for (auto one = best + 1; one != candidates.end(); ++one)
      if (one->amount.Above(best->amount)) best = one;
    const std::vector<Word>& region = ranking.Take(*best);
    candidates.erase(best);
    for (const Word& word : region) bits[word.at] = word.bits;
    for (Candidate& one : candidates) Uncover(region, bits, attribution, one);
    for (const Word& word : region) bits[word.at] = 0;
  }
}

void RankFast(std::vector<Candidate> candidates, const XraiOptions& options,
              Ranking& ranking) {
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) {
                     return a.amount.Above(b.amount);
                   });
  for (const Candidate& one : candidates)
    if (ranking.CountLeft(one) >= options.min_pixel_diff) ranking.Take(one);
}

}  // namespace

const char* XraiError(SegmentsShape shape, const XraiOptions& options) {
  // In words of bits: rows are filled up to whole ones.
  if (shape.width > kMostPixels ||
      (shape.width > 0 &&
       shape.height > kMostPixels / (RowWords(shape) * kWordBits)))
    return "images have at most 2^28 pixels, in rows of a multiple of 64";
  if (options.radius < 0) return "radius is not negative";
  if (options.min_pixel_diff < 1) return "min_pixel_diff is at least 1";
  if (!(options.area_threshold >= 0 && options.area_threshold <= 1))
    return "area_threshold is from 0 to 1";
  return nullptr;
}

int64_t LabelsEnd(SegmentsShape shape) {
  return std::max(kFewLabels, Pixels(shape));
}

int64_t FindBadLabel(const int32_t* labels, SegmentsShape shape) {
  const int64_t count = shape.examples * shape.scales * Pixels(shape);
  const int64_t end = LabelsEnd(shape);
  const int32_t* bad = std::find_if(
      labels, labels + count, [end](int32_t x) { return x < 0 || x >= end; });
  return bad == labels + count ? -1 : bad - labels;
}

void Xrai(const float* attribution, const int32_t* labels, SegmentsShape shape,
          const XraiOptions& options, float* map, int32_t* ranking,
          Parallel& parallel) {
  const int64_t pixels = Pixels(shape);
  if (pixels == 0) return;
  ForExamples(shape.examples, parallel, [&](int64_t i, Parallel& inner) {
    float* my_map = map + i * pixels;
    int32_t* my_ranking = ranking + i * pixels;
    const Attribution values(attribution + i * pixels, shape);
    if (!values.Finite()) {
      std::fill_n(my_map, pixels, std::numeric_limits<float>::quiet_NaN());
      std::fill_n(my_ranking, pixels, -1);
      return;
    }
    std::vector<Masks> scales(shape.scales);
    inner.For(shape.scales, [&](int64_t k) {
      scales[k] = Dilate(labels + (i * shape.scales + k) * pixels, shape,
                         options, values);
    });
    Ranking regions(shape, values, my_map, my_ranking);
    if (options.fast) {
      RankFast(Candidates(scales), options, regions);
    } else {
      RankFull(Candidates(scales), options, values,
               RowWords(shape) * shape.height, regions);
    }
    regions.TakeRest();
  });
}

}  // namespace tfsal
