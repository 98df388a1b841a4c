// For the tests of felzenszwalb.h and xrai.h: the same written down once more,
// pixel by pixel and with no thought of time.
#ifndef TFSAL_CC_KERNELS_REGIONS_NAIVE_H_
#define TFSAL_CC_KERNELS_REGIONS_NAIVE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <vector>

#include "cc/kernels/felzenszwalb.h"
#include "cc/kernels/xrai.h"

namespace tfsal::naive {

// Labels of one image that is not to be blurred, at one scale.
template <typename T>
std::vector<int32_t> Segment(const T* image, ImageShape shape, double scale,
                             int64_t min_size) {
  struct Edge {
    double cost;
    int64_t a, b;
  };
  const int64_t height = shape.height, width = shape.width;
  const int64_t pixels = height * width;
  std::vector<Edge> edges;
  const struct {
    int64_t top, left, bottom, right;
  } kinds[] = {{0, 0, 0, 1}, {0, 0, 1, 0}, {0, 0, 1, 1}, {0, 1, 1, 0}};
  for (const auto& kind : kinds) {
    for (int64_t i = 0; i < pixels; ++i) {
      const int64_t y = i / width, x = i % width;
      if (y + kind.bottom >= height) continue;
      if (x + std::max(kind.left, kind.right) >= width) continue;
      const int64_t a = (y + kind.top) * width + x + kind.left;
      const int64_t b = (y + kind.bottom) * width + x + kind.right;
      double sum = 0;
      for (int64_t k = 0; k < shape.channels; ++k) {
        volatile double square = image[a * shape.channels + k];
        square = square - image[b * shape.channels + k];
        square = square * square;  // rounded, not fused with the sum
        sum += square;
      }
      edges.push_back({std::sqrt(sum), a, b});
    }
  }
  std::stable_sort(
      edges.begin(), edges.end(), [](const Edge& a, const Edge& b) {
        return a.cost < b.cost || (!std::isnan(a.cost) && std::isnan(b.cost));
      });
  std::vector<int64_t> segment(pixels), size(pixels, 1);
  std::vector<double> inner(pixels);
  std::iota(segment.begin(), segment.end(), 0);
  const auto join = [&](int64_t a, int64_t b) {
    size[a] += size[b];
    std::replace(segment.begin(), segment.end(), b, a);
  };
  for (const bool small : {false, true}) {
    for (const Edge& edge : edges) {
      const int64_t a = segment[edge.a], b = segment[edge.b];
      if (a == b) continue;
      if (small) {
        if (std::min(size[a], size[b]) < min_size) join(a, b);
      } else {
        const float most_a = inner[a] + scale / 255 / size[a];
        const float most_b = inner[b] + scale / 255 / size[b];
        if (edge.cost < most_a && edge.cost < most_b) {
          join(a, b);
          inner[a] = edge.cost;
        }
      }
    }
  }
  std::map<int64_t, int32_t> number;
  std::vector<int32_t> labels;
  for (const int64_t one : segment)
    labels.push_back(number.emplace(one, number.size()).first->second);
  return labels;
}

// What Xrai() finds in one image, for attributions of which any sum is exact.
struct Regions {
  Regions(const float* attribution, const int32_t* labels, SegmentsShape shape,
          const XraiOptions& options)
      : pixels(shape.height * shape.width),
        map(pixels),
        ranking(pixels, -1),
        values(attribution) {
    const int64_t radius = std::min(options.radius, shape.height + shape.width);
    std::vector<Mask> masks;
    for (int64_t k = 0; k < shape.scales; ++k) {
      std::map<int32_t, Mask> segments;
      for (int64_t i = 0; i < pixels; ++i) {
        Mask& mask = segments[labels[k * pixels + i]];
        mask.resize(pixels);
        for (int64_t j = 0; j < pixels; ++j) {
          const int64_t y = i / shape.width - j / shape.width;
          const int64_t x = i % shape.width - j % shape.width;
          if (y * y + x * x <= radius * radius) mask[j] = true;
        }
      }
      for (const auto& one : segments) masks.push_back(one.second);
    }
    if (options.fast) {
      std::stable_sort(
          masks.begin(), masks.end(),
          [this](const Mask& a, const Mask& b) { return Mean(a) > Mean(b); });
    }
    Mask left(pixels, true);
    int32_t rank = 0;
    const auto paint = [&](const Mask& mask, int32_t as) {
      const float mean = static_cast<float>(Mean(mask));
      for (int64_t i = 0; i < pixels; ++i) {
        if (!mask[i]) continue;
        map[i] = mean;
        ranking[i] = as;
        left[i] = false;
      }
    };
    const auto new_pixels = [&](const Mask& mask) {
      Mask both = mask;
      for (int64_t i = 0; i < pixels; ++i) both[i] = mask[i] && left[i];
      return both;
    };
    if (options.fast) {
      for (const Mask& mask : masks) {
        const Mask region = new_pixels(mask);
        if (Count(region) >= options.min_pixel_diff) paint(region, rank++);
      }
    } else {
      while (static_cast<double>(pixels - Count(left)) / pixels <=
             options.area_threshold) {
        Mask best;
        for (const Mask& mask : masks) {
          const Mask region = new_pixels(mask);
          if (Count(region) < options.min_pixel_diff) continue;
          if (best.empty() || Mean(region) > Mean(best)) best = region;
        }
        if (best.empty()) break;
        paint(best, rank++);
      }
    }
    if (Count(left) > 0) paint(Mask(left), -1);
  }

  using Mask = std::vector<bool>;

  static int64_t Count(const Mask& mask) {
    return std::count(mask.begin(), mask.end(), true);
  }

  double Mean(const Mask& mask) const {
    double sum = 0;
    for (int64_t i = 0; i < pixels; ++i)
      if (mask[i]) sum += values[i];
    return sum / Count(mask);
  }

  const int64_t pixels;
  std::vector<float> map;
  std::vector<int32_t> ranking;
  const float* const values;
};

}  // namespace tfsal::naive

#endif  // TFSAL_CC_KERNELS_REGIONS_NAIVE_H_
