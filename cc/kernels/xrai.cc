#include "cc/kernels/xrai.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "cc/kernels/dilation.h"
#include "cc/kernels/pixel_sets.h"

namespace tfsal {
namespace {

constexpr int64_t kMostPixels = int64_t{1} << 28;
constexpr int64_t kFewLabels = int64_t{1} << 16;

PixelGrid Grid(const SegmentsShape& shape) {
  return {shape.height, shape.width};
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
  Ranking(const PixelGrid& grid, const Attribution& attribution, float* map,
          int32_t* ranking)
      : grid_(grid),
        attribution_(attribution),
        map_(map),
        ranking_(ranking),
        left_(grid.Words()) {
    std::fill_n(ranking, grid.Pixels(), -1);
    for (size_t i = 0; i < left_.size(); ++i) {
      const int64_t x = i % grid.RowWords() * kWordBits;
      left_[i] = Bits(0, std::min<int64_t>(grid.width - x, kWordBits));
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
    return static_cast<double>(covered_) / grid_.Pixels();
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
    const int64_t row_words = grid_.RowWords();
    for (const Word& word : region_) {
      const int64_t start =
          word.at / row_words * grid_.width + word.at % row_words * kWordBits;
      for (uint64_t left = word.bits; left != 0; left &= left - 1) {
        const int64_t pixel = start + __builtin_ctzll(left);
        map_[pixel] = mean;
        ranking_[pixel] = rank;
      }
    }
  }

  const PixelGrid grid_;
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
       shape.height > kMostPixels / (Grid(shape).RowWords() * kWordBits)))
    return "images have at most 2^28 pixels, in rows of a multiple of 64";
  if (options.radius < 0) return "radius is not negative";
  if (options.min_pixel_diff < 1) return "min_pixel_diff is at least 1";
  if (!(options.area_threshold >= 0 && options.area_threshold <= 1))
    return "area_threshold is from 0 to 1";
  return nullptr;
}

int64_t LabelsEnd(SegmentsShape shape) {
  return std::max(kFewLabels, Grid(shape).Pixels());
}

int64_t FindBadLabel(const int32_t* labels, SegmentsShape shape) {
  const int64_t count = shape.examples * shape.scales * Grid(shape).Pixels();
  const int64_t end = LabelsEnd(shape);
  const int32_t* bad = std::find_if(
      labels, labels + count, [end](int32_t x) { return x < 0 || x >= end; });
  return bad == labels + count ? -1 : bad - labels;
}

void Xrai(const float* attribution, const int32_t* labels, SegmentsShape shape,
          const XraiOptions& options, float* map, int32_t* ranking,
          Parallel& parallel) {
  const PixelGrid grid = Grid(shape);
  const int64_t pixels = grid.Pixels();
  if (pixels == 0) return;
  ForExamples(shape.examples, parallel, [&](int64_t i, Parallel& inner) {
    float* my_map = map + i * pixels;
    int32_t* my_ranking = ranking + i * pixels;
    const Attribution values(attribution + i * pixels, grid);
    if (!values.Finite()) {
      std::fill_n(my_map, pixels, std::numeric_limits<float>::quiet_NaN());
      std::fill_n(my_ranking, pixels, -1);
      return;
    }
    std::vector<Masks> scales(shape.scales);
    inner.For(shape.scales, [&](int64_t k) {
      scales[k] = Dilate(labels + (i * shape.scales + k) * pixels, grid,
                         options.radius, options.min_pixel_diff, values);
    });
    Ranking regions(grid, values, my_map, my_ranking);
    if (options.fast) {
      RankFast(Candidates(scales), options, regions);
    } else {
      RankFull(Candidates(scales), options, values, grid.Words(), regions);
    }
    regions.TakeRest();
  });
}

}  // namespace tfsal
