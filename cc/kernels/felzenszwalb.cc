#include "cc/kernels/felzenszwalb.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

// Labels depend on the last bit of every cost, which scikit-image rounds after
// each operation.
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

namespace tfsal {
namespace {

constexpr int64_t kMostPixels = int64_t{1} << 28;
constexpr double kMostSigma = 1000;
constexpr int64_t kMostBeside = int64_t{1} << 22;
constexpr int64_t kRowsInOneTask = 16;

// numpy.sum of contiguous numbers, to the last bit.
double Sum(const double* x, int64_t count) {
  if (count < 8) return std::accumulate(x, x + count, 0.);
  if (count > 128) {
    const int64_t half = count / 2 - count / 2 % 8;
    return Sum(x, half) + Sum(x + half, count - half);
  }
  double r[8];
  std::copy_n(x, 8, r);
  int64_t i = 8;
  for (; i + 8 <= count; i += 8)
    for (int j = 0; j < 8; ++j) r[j] += x[i + j];
  double sum =
      ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
  for (; i < count; ++i) sum += x[i];
  return sum;
}

// The Gaussian from its middle outwards, cut off at 4 sigma; {1} is no blur.
std::vector<double> GaussianWeights(double sigma) {
  if (sigma <= 1e-15) return {1};
  const int64_t radius = static_cast<int64_t>(4 * sigma + 0.5);
  std::vector<double> all(2 * radius + 1);
  for (int64_t x = -radius; x <= radius; ++x)
    all[x + radius] =
        std::exp(-0.5 / (sigma * sigma) * static_cast<double>(x * x));
  const double sum = Sum(all.data(), all.size());
  std::vector<double> weights(all.begin() + radius, all.end());
  for (double& weight : weights) weight /= sum;
  return weights;
}

// The place that place i outside of [0, size) mirrors: ... 1 0 | 0 1 ...
int64_t Reflect(int64_t i, int64_t size) {
  i %= 2 * size;
  if (i < 0) i += 2 * size;
  return i < size ? i : 2 * size - 1 - i;
}

// out[i] = sum_j weights[|j|] at(j)[i], from the outermost weights inwards,
// where at(j) is the line j lines further.
template <typename At>
void Correlate(const std::vector<double>& weights, int64_t size, double* out,
               const At& at) {
  const auto* middle = at(0);
  for (int64_t i = 0; i < size; ++i) out[i] = middle[i] * weights[0];
  for (int64_t j = weights.size() - 1; j > 0; --j) {
    const auto *before = at(-j), *after = at(j);
    const double weight = weights[j];
    for (int64_t i = 0; i < size; ++i)
      out[i] += (static_cast<double>(before[i]) + after[i]) * weight;
  }
}

// One row of the blurred image. `padded` is room for a row with its reflections
// on either side.
template <typename T>
void BlurRow(const T* image, const ImageShape& shape, int64_t y,
             const std::vector<double>& weights, std::vector<double>& padded,
             double* out) {
  const int64_t channels = shape.channels, row = shape.width * channels;
  const int64_t radius = weights.size() - 1;
  double* middle = padded.data() + radius * channels;
  Correlate(weights, row, middle, [&](int64_t j) {
    return image + Reflect(y + j, shape.height) * row;
  });
  for (int64_t x = 1; x <= radius; ++x) {
    std::copy_n(middle + Reflect(-x, shape.width) * channels, channels,
                middle - x * channels);
    std::copy_n(middle + Reflect(shape.width - 1 + x, shape.width) * channels,
                channels, middle + row + (x - 1) * channels);
  }
  Correlate(weights, row, out,
            [&](int64_t j) -> const double* { return middle + j * channels; });
}

// An edge between two of the 8 neighbours of pixels.
struct Edge {
  uint64_t cost;   // the bits of a double that is not negative: they sort as it
  uint32_t place;  // 4 times the pixel at its top left, and its kind
};

enum Kind { kRight, kDown, kDownRight, kUpRight, kKinds };

// Where an edge's pixels lie from the one at its top left.
struct Ends {
  explicit Ends(int64_t width)
      : first{0, 0, 0, 1},
        second{1, static_cast<int32_t>(width), static_cast<int32_t>(width + 1),
               static_cast<int32_t>(width)} {}
  std::array<int32_t, kKinds> first, second;
};

uint64_t Cost(const double* a, const double* b, int64_t channels) {
  double sum = 0;
  for (int64_t k = 0; k < channels; ++k) sum += (a[k] - b[k]) * (a[k] - b[k]);
  double cost = std::sqrt(sum);
  if (cost != cost) cost = std::numeric_limits<double>::quiet_NaN();
  uint64_t bits;
  std::memcpy(&bits, &cost, sizeof(bits));
  return bits;
}

double Value(const Edge& edge) {
  double cost;
  std::memcpy(&cost, &edge.cost, sizeof(cost));
  return cost;
}

// The edges that start in rows [first, end): each kind has a part of `edges`.
void MakeEdges(const double* image, const ImageShape& shape, int64_t first,
               int64_t end, std::vector<Edge>& edges) {
  const int64_t height = shape.height, width = shape.width;
  const Ends ends(width);
  int64_t part = 0;
  for (int kind = 0; kind < kKinds; ++kind) {
    const int64_t columns = kind == kDown ? width : width - 1;
    const int64_t rows = kind == kRight ? height : height - 1;
    for (int64_t y = first; y < std::min(end, rows); ++y) {
      Edge* edge = edges.data() + part + y * columns;
      for (int64_t x = 0; x < columns; ++x) {
        const int64_t pixel = y * width + x;
        const double* at = image + pixel * shape.channels;
        edge[x] = {
            Cost(at + ends.first[kind] * shape.channels,
                 at + ends.second[kind] * shape.channels, shape.channels),
            static_cast<uint32_t>(4 * pixel + kind)};
      }
    }
    part += rows * columns;
  }
}

// All edges, in the order in which equal ones are taken.
template <typename T>
std::vector<Edge> AllEdges(const T* image, const ImageShape& shape,
                           const std::vector<double>& weights,
                           Parallel& parallel) {
  const int64_t height = shape.height, width = shape.width;
  const int64_t row = width * shape.channels;
  const int64_t tasks = (height + kRowsInOneTask - 1) / kRowsInOneTask;
  std::vector<double> blurred(height * row);
  parallel.For(tasks, [&](int64_t task) {
    const int64_t first = task * kRowsInOneTask;
    std::vector<double> padded(row + 2 * (weights.size() - 1) * shape.channels);
    for (int64_t y = first; y < std::min(first + kRowsInOneTask, height); ++y)
      BlurRow(image, shape, y, weights, padded, blurred.data() + y * row);
  });
  std::vector<Edge> edges(height * (width - 1) + (height - 1) * width +
                          2 * (height - 1) * (width - 1));
  parallel.For(tasks, [&](int64_t task) {
    const int64_t first = task * kRowsInOneTask;
    MakeEdges(blurred.data(), shape, first, first + kRowsInOneTask, edges);
  });
  return edges;
}

// Sorts by cost and keeps the order of equal ones: one digit after the other,
// the lowest first.
void Sort(std::vector<Edge>& edges) {
  constexpr int kBits = 11, kDigits = 6;
  constexpr size_t kValues = size_t{1} << kBits;
  const auto digit = [](const Edge& edge, int d) {
    return edge.cost >> d * kBits & (kValues - 1);
  };
  std::vector<std::array<uint32_t, kValues>> counts(kDigits);
  for (const Edge& edge : edges)
    for (int d = 0; d < kDigits; ++d) ++counts[d][digit(edge, d)];
  std::vector<Edge> sorted(edges.size());
  for (int d = 0; d < kDigits; ++d) {
    std::array<uint32_t, kValues>& next = counts[d];
    if (!edges.empty() && next[digit(edges[0], d)] == edges.size()) continue;
    uint32_t start = 0;
    for (uint32_t& count : next) start += std::exchange(count, start);
    for (const Edge& edge : edges) sorted[next[digit(edge, d)]++] = edge;
    edges.swap(sorted);
  }
}

// Disjoint sets of pixels, each of which has one of its pixels as its root.
class Segments {
 public:
  // Two segments are joined by an edge that costs less than both of them allow.
  Segments(int64_t pixels, float allowed)
      : parent_(pixels), trees_(pixels, {1, allowed}) {
    std::iota(parent_.begin(), parent_.end(), 0);
  }

  int32_t Root(int32_t pixel) {
    while (parent_[pixel] != pixel)
      pixel = parent_[pixel] = parent_[parent_[pixel]];
    return pixel;
  }

  // Joins two segments, given by their roots; returns the new one's.
  int32_t Join(int32_t a, int32_t b) {
    if (trees_[a].size < trees_[b].size) std::swap(a, b);
    parent_[b] = a;
    trees_[a].size += trees_[b].size;
    return a;
  }

  int32_t Size(int32_t root) const { return trees_[root].size; }
  float Allowed(int32_t root) const { return trees_[root].allowed; }
  void Allow(int32_t root, float allowed) { trees_[root].allowed = allowed; }

 private:
  struct Tree {
    int32_t size;
    float allowed;
  };
  std::vector<int32_t> parent_;
  std::vector<Tree> trees_;  // at the roots
};

// The segments at one scale, from the sorted edges.
void Label(const std::vector<Edge>& edges, int64_t pixels, const Ends& ends,
           double scale, int64_t min_size, int32_t* labels) {
  // The largest cost inside a segment, and what its size adds to that.
  const auto allowed = [scale](double inner, int32_t size) {
    return static_cast<float>(inner + scale / size);
  };
  Segments segments(pixels, allowed(0, 1));
  // Calls join(a, b) for the segments on either side of an edge.
  const auto between = [&](uint32_t place, const auto& join) {
    const int32_t pixel = place / kKinds, kind = place % kKinds;
    const int32_t a = segments.Root(pixel + ends.first[kind]);
    const int32_t b = segments.Root(pixel + ends.second[kind]);
    if (a != b) join(a, b);
  };
  std::vector<uint32_t> apart;  // places of the edges that joined nothing
  for (const Edge& edge : edges) {
    between(edge.place, [&](int32_t a, int32_t b) {
      const double cost = Value(edge);
      if (cost < std::min(segments.Allowed(a), segments.Allowed(b))) {
        const int32_t root = segments.Join(a, b);
        segments.Allow(root, allowed(cost, segments.Size(root)));
      } else {
        apart.push_back(edge.place);
      }
    });
  }
  for (const uint32_t place : apart) {
    between(place, [&](int32_t a, int32_t b) {
      if (segments.Size(a) < min_size || segments.Size(b) < min_size)
        segments.Join(a, b);
    });
  }
  int32_t next = 0;
  std::vector<int32_t> numbers(pixels, -1);
  for (int64_t i = 0; i < pixels; ++i) {
    int32_t& number = numbers[segments.Root(i)];
    if (number < 0) number = next++;
    labels[i] = number;
  }
}

}  // namespace

const char* FelzenszwalbError(ImageShape shape,
                              const FelzenszwalbOptions& options) {
  if (shape.width > 0 && shape.height > kMostPixels / shape.width)
    return "images have at most 2^28 pixels";
  for (int64_t k = 0; k < options.scale_count; ++k) {
    if (!(options.scales[k] >= 0 && std::isfinite(options.scales[k])))
      return "scales are finite and not negative";
  }
  if (!(options.sigma >= 0 && options.sigma <= kMostSigma))
    return "sigma is from 0 to 1000";
  // Rows are blurred with that many values beside them.
  if (shape.channels > kMostBeside / (1 + options.sigma))
    return "channels times (1 + sigma) are at most 2^22";
  if (options.min_size < 0) return "min_size is not negative";
  return nullptr;
}

template <typename T>
void Felzenszwalb(const T* images, ImageShape shape,
                  const FelzenszwalbOptions& options, int32_t* labels,
                  Parallel& parallel) {
  const int64_t pixels = shape.height * shape.width;
  if (pixels == 0 || options.scale_count == 0) return;
  const std::vector<double> weights = GaussianWeights(options.sigma);
  const Ends ends(shape.width);
  ForExamples(shape.examples, parallel, [&](int64_t i, Parallel& inner) {
    std::vector<Edge> edges =
        AllEdges(images + i * pixels * shape.channels, shape, weights, inner);
    Sort(edges);
    inner.For(options.scale_count, [&](int64_t k) {
      Label(edges, pixels, ends, options.scales[k] / 255, options.min_size,
            labels + (i * options.scale_count + k) * pixels);
    });
  });
}

template void Felzenszwalb(const float*, ImageShape, const FelzenszwalbOptions&,
                           int32_t*, Parallel&);
template void Felzenszwalb(const double*, ImageShape,
                           const FelzenszwalbOptions&, int32_t*, Parallel&);

}  // namespace tfsal
