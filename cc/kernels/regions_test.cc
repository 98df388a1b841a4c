// Segmentation and XRAI's ranking against answers found by hand and
// regions_naive.h, with no framework.
//
//   regions_test [NAME]: only the tests whose name contains NAME
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <vector>

#include "cc/kernels/felzenszwalb.h"
#include "cc/kernels/regions_naive.h"
#include "cc/kernels/test_tools.h"
#include "cc/kernels/threads.h"
#include "cc/kernels/xrai.h"

namespace tfsal {
namespace {

constexpr double kScales[] = {50, 100, 150, 250, 500, 1200};
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> DrawImages(const ImageShape& shape, int values) {
  std::vector<float> images(shape.examples * shape.height * shape.width *
                            shape.channels);
  for (float& x : images) x = Uniform(0, values) / static_cast<float>(values);
  return images;
}

std::vector<int32_t> Segment(const std::vector<float>& images,
                             const ImageShape& shape,
                             const FelzenszwalbOptions& options,
                             Parallel& parallel) {
  CHECK(FelzenszwalbError(shape, options) == nullptr);
  std::vector<int32_t> labels(shape.examples * options.scale_count *
                              shape.height * shape.width);
  Felzenszwalb(images.data(), shape, options, labels.data(), parallel);
  return labels;
}

// Two plateaus, and one pixel that differs: a segment of its own until it is
// too small to be one.
void TestKnownSegments() {
  const ImageShape shape = {1, 3, 4, 1};
  const std::vector<float> image = {0, 0, 9, 9, 0, 5, 9, 9, 0, 0, 9, 9};
  const double scale = 1;
  Serial serial;
  const std::vector<int32_t> three = {0, 0, 1, 1, 0, 2, 1, 1, 0, 0, 1, 1};
  CHECK(Segment(image, shape, {&scale, 1, 0, 1}, serial) == three);
  // 9 - 5 is less than 5 - 0.
  const std::vector<int32_t> two = {0, 0, 1, 1, 0, 1, 1, 1, 0, 0, 1, 1};
  CHECK(Segment(image, shape, {&scale, 1, 0, 2}, serial) == two);
  CHECK(Segment(image, shape, {&scale, 1, 0, 8}, serial) ==
        std::vector<int32_t>(12));
}

void TestNaiveSegments() {
  Serial serial;
  int64_t segments = 0;
  for (int round = 0; round < 40; ++round) {
    const ImageShape shape = {Uniform(1, 2), Uniform(1, 30), Uniform(1, 30),
                              Uniform(1, 4)};
    const std::vector<float> images =
        DrawImages(shape, round % 2 == 0 ? 4 : 1000);
    const int64_t min_size = Uniform(0, 9), pixels = shape.height * shape.width;
    const auto labels =
        Segment(images, shape, {kScales, 6, 0, min_size}, serial);
    for (int64_t i = 0; i < shape.examples * 6; ++i) {
      const auto expected =
          naive::Segment(images.data() + i / 6 * pixels * shape.channels, shape,
                         kScales[i % 6], min_size);
      CHECK(std::equal(expected.begin(), expected.end(),
                       labels.begin() + i * pixels));
      segments += *std::max_element(expected.begin(), expected.end()) + 1;
    }
  }
  CHECK(segments > 1000);
}

// The blur mirrors the image at its borders, however small it is: what is the
// same in every column stays so.
void TestBlur() {
  Serial serial;
  for (const double sigma : {0.1, 0.8, 1., 3., 40.}) {
    const ImageShape shape = {1, 12, Uniform(1, 9), 2};
    std::vector<float> image(12 * shape.width * 2);
    for (size_t i = 0; i < image.size(); ++i)
      image[i] = i / (6 * shape.width * 2) ? 3 : -3;
    const double scale = 1e-9;
    const auto labels = Segment(image, shape, {&scale, 1, sigma, 0}, serial);
    for (int64_t y = 0; y < 12; ++y)
      for (int64_t x = 0; x < shape.width; ++x)
        CHECK(labels[y * shape.width + x] == labels[y * shape.width]);
  }
}

void TestSegmentThreads() {
  Serial serial;
  ThreadPool two(2), seven(7);
  for (const ImageShape shape : {ImageShape{1, 70, 50, 3}, {5, 20, 33, 1}}) {
    const auto images = DrawImages(shape, 255);
    const FelzenszwalbOptions options = {kScales, 6, 0.8, 20};
    const auto alone = Segment(images, shape, options, serial);
    CHECK(alone == Segment(images, shape, options, two));
    CHECK(alone == Segment(images, shape, options, seven));
  }
}

void TestSegmentAnything() {
  Serial serial;
  const FelzenszwalbOptions options = {kScales, 6, 0.8, 20};
  for (const ImageShape shape : {ImageShape{0, 5, 5, 3},
                                 {2, 0, 5, 3},
                                 {2, 5, 0, 3},
                                 {2, 5, 5, 0},
                                 {1, 1, 1, 1}}) {
    for (const int32_t label :
         Segment(DrawImages(shape, 9), shape, options, serial))
      CHECK(label == 0);
  }
  CHECK(Segment({1, 2}, {1, 1, 2, 1}, {nullptr, 0, 0.8, 0}, serial).empty());
  const ImageShape shape = {3, 9, 9, 2};
  const auto clean = DrawImages(shape, 255);
  auto spoilt = clean;
  for (int64_t i = 9 * 9 * 2; i < 2 * 9 * 9 * 2; ++i)
    spoilt[i] = Uniform(0, 1) ? kNan : kInfinity;
  const auto expected = Segment(clean, shape, options, serial);
  const auto found = Segment(spoilt, shape, options, serial);
  for (int64_t i = 0; i < 9 * 9 * 6; ++i)
    CHECK(found[i] == expected[i] &&
          found[2 * 9 * 9 * 6 + i] == expected[2 * 9 * 9 * 6 + i]);
}

void TestSegmentRefusals() {
  const ImageShape shape = {1, 2, 2, 1};
  const double infinite = INFINITY, minus = -1, nan = NAN;
  for (const double* scale : {&infinite, &minus, &nan})
    CHECK(FelzenszwalbError(shape, {scale, 1, 0.8, 0}) != nullptr);
  for (const double sigma : {-0.1, 1e9, double{NAN}})
    CHECK(FelzenszwalbError(shape, {kScales, 6, sigma, 0}) != nullptr);
  CHECK(FelzenszwalbError(shape, {kScales, 6, 0.8, -1}) != nullptr);
  const int64_t most = std::numeric_limits<int64_t>::max();
  for (const ImageShape large : {ImageShape{1, 1 << 15, 1 << 14, 1},
                                 {1, most, most, 1},
                                 {1, 1, 1, most}})
    CHECK(FelzenszwalbError(large, {kScales, 6, 0.8, 0}) != nullptr);
}

// A call of Xrai() and what it finds.
struct Ranked {
  Ranked(const std::vector<float>& attribution,
         const std::vector<int32_t>& labels, const SegmentsShape& shape,
         const XraiOptions& options, Parallel& parallel)
      : map(attribution.size(), kNan), ranking(attribution.size(), -9) {
    CHECK(XraiError(shape, options) == nullptr);
    CHECK(FindBadLabel(labels.data(), shape) < 0);
    Xrai(attribution.data(), labels.data(), shape, options, map.data(),
         ranking.data(), parallel);
  }
  bool operator==(const Ranked& other) const {
    return map == other.map && ranking == other.ranking;
  }
  std::vector<float> map;
  std::vector<int32_t> ranking;
};

void TestKnownRanking() {
  const std::vector<float> attribution = {1, 1, 9, 9, 2, 2, 5, 3};
  const std::vector<int32_t> labels = {7, 7, 0, 0, 3, 3, 3, 4,   // scale 0
                                       0, 0, 0, 1, 1, 1, 1, 1};  // scale 1
  const SegmentsShape shape = {1, 2, 1, 8};
  Serial serial;
  XraiOptions options = {0, 2, 1, false};
  // {2, 3}: 9; then {4, 5, 6, 7} of scale 1: 3, which is as much as {4, 5, 6}
  // of scale 0, and comes after it; what is left of scale 1 is too small.
  const Ranked full(attribution, labels, shape, options, serial);
  CHECK((full.map == std::vector<float>{1, 1, 9, 9, 3, 3, 3, 3}));
  CHECK((full.ranking == std::vector<int32_t>{2, 2, 0, 0, 1, 1, 1, -1}));
  // The second scale's segments have 11 / 3 and 21 / 5.
  options.fast = true;
  const Ranked fast(attribution, labels, shape, options, serial);
  CHECK((fast.map == std::vector<float>{1, 1, 9, 9, 3, 3, 3, 3}));
  CHECK((fast.ranking == std::vector<int32_t>{2, 2, 0, 0, 1, 1, 1, 1}));
  // A region is taken as long as no more than the part is covered.
  options = {0, 2, 0.25, false};
  const Ranked two(attribution, labels, shape, options, serial);
  CHECK((two.ranking == std::vector<int32_t>{-1, -1, 0, 0, 1, 1, 1, -1}));
  options.area_threshold = 0.2;
  const Ranked one(attribution, labels, shape, options, serial);
  CHECK((one.ranking == std::vector<int32_t>{-1, -1, 0, 0, -1, -1, -1, -1}));
  CHECK(one.map[0] == 14 / 6.f);
  // Nothing is large enough.
  options = {0, 6, 1, false};
  const Ranked none(attribution, labels, shape, options, serial);
  CHECK(none.map == std::vector<float>(8, 4));
  CHECK(none.ranking == std::vector<int32_t>(8, -1));
}

// A disk of radius 2 around one pixel, cut off at a border.
void TestDisk() {
  std::vector<int32_t> labels(5 * 70);
  labels[1 * 70 + 63] = 1;
  std::vector<float> attribution(5 * 70);
  attribution[1 * 70 + 63] = 1;
  Serial serial;
  const Ranked found(attribution, labels, {1, 1, 5, 70}, {2, 1, 1, false},
                     serial);
  int64_t count = 0;
  for (int64_t y = 0; y < 5; ++y) {
    for (int64_t x = 0; x < 70; ++x) {
      const bool inside = (y - 1) * (y - 1) + (x - 63) * (x - 63) <= 4;
      CHECK((found.ranking[y * 70 + x] == 0) == inside);
      count += inside;
    }
  }
  CHECK(count == 12 && found.map[70 + 63] == 1 / 12.f);
}

SegmentsShape DrawShape() {
  return {Uniform(1, 3), Uniform(0, 3), Uniform(1, 9), Uniform(1, 150)};
}

std::vector<int32_t> DrawLabels(const SegmentsShape& shape) {
  std::vector<int32_t> labels(shape.examples * shape.scales * shape.height *
                              shape.width);
  const int64_t run = Uniform(1, 9), most = Uniform(1, 9);
  for (size_t i = 0; i < labels.size(); ++i)
    labels[i] = i % run ? labels[i - 1] : Uniform(0, most);
  return labels;
}

void TestNaiveRanking() {
  Serial serial;
  int64_t regions = 0;
  for (int round = 0; round < 120; ++round) {
    const SegmentsShape shape = DrawShape();
    const int64_t pixels = shape.height * shape.width;
    const auto labels = DrawLabels(shape);
    std::vector<float> attribution(shape.examples * pixels);
    for (float& x : attribution) x = Uniform(-8, 8);
    const XraiOptions options = {Uniform(0, 6), Uniform(1, 30),
                                 Uniform(0, 2) / 2., Uniform(0, 1) == 0};
    const Ranked found(attribution, labels, shape, options, serial);
    for (int64_t i = 0; i < shape.examples; ++i) {
      const naive::Regions expected(attribution.data() + i * pixels,
                                    labels.data() + i * shape.scales * pixels,
                                    shape, options);
      CHECK(std::equal(expected.map.begin(), expected.map.end(),
                       found.map.begin() + i * pixels));
      CHECK(std::equal(expected.ranking.begin(), expected.ranking.end(),
                       found.ranking.begin() + i * pixels));
      regions += 1 + *std::max_element(expected.ranking.begin(),
                                       expected.ranking.end());
    }
  }
  CHECK(regions > 300);
}

// Values of very different sizes: every region has its mean to float's
// precision of the largest, and the map the attribution's sum.
void TestSums() {
  Serial serial;
  for (const int exponent : {-149, -100, 0, 100, 126}) {
    const SegmentsShape shape = {1, 3, 9, 150};
    std::vector<float> attribution(9 * 150);
    double sum = 0;
    for (float& x : attribution) {
      x = std::ldexp(Uniform(-1000, 1000) / 1000., exponent - Uniform(0, 3));
      sum += x;
    }
    const Ranked found(attribution, DrawLabels(shape), shape, {1, 5, 1, false},
                       serial);
    double map_sum = 0;
    for (const float x : found.map) map_sum += x;
    CHECK(std::abs(map_sum - sum) <=
          1350 * std::max(std::ldexp(1., exponent - 22), 0x1p-149));
  }
}

void TestRankingThreads() {
  Serial serial;
  ThreadPool two(2), seven(7);
  for (int round = 0; round < 20; ++round) {
    const SegmentsShape shape = {Uniform(1, 9), 6, 20, 90};
    const auto labels = DrawLabels(shape);
    std::vector<float> attribution(shape.examples * 20 * 90);
    for (float& x : attribution) x = std::sin(Uniform(0, 1 << 20));
    const XraiOptions options = {Uniform(0, 6), 30, 1, round % 2 == 0};
    const Ranked alone(attribution, labels, shape, options, serial);
    CHECK(alone == Ranked(attribution, labels, shape, options, two));
    CHECK(alone == Ranked(attribution, labels, shape, options, seven));
  }
}

// What is wrong with one example stays there.
void TestRankAnything() {
  Serial serial;
  for (const SegmentsShape shape :
       {SegmentsShape{0, 2, 3, 3}, {2, 2, 0, 3}, {2, 2, 3, 0}}) {
    const Ranked nothing({}, {}, shape, {}, serial);
    CHECK(nothing.map.empty());
  }
  const Ranked no_scales({1, 3}, {}, {1, 0, 1, 2}, {}, serial);
  CHECK((no_scales.map == std::vector<float>{2, 2}));
  const Ranked one_pixel({5}, {65535}, {1, 1, 1, 1}, {1 << 20, 1, 1, false},
                         serial);
  CHECK(one_pixel.map[0] == 5 && one_pixel.ranking[0] == 0);
  const SegmentsShape shape = {3, 2, 10, 10};
  const auto labels = DrawLabels(shape);
  std::vector<float> clean(300);
  for (float& x : clean) x = Uniform(-8, 8);
  const Ranked expected(clean, labels, shape, {1, 9, 1, false}, serial);
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    auto spoilt = clean;
    spoilt[150] = bad;
    const Ranked found(spoilt, labels, shape, {1, 9, 1, false}, serial);
    for (int64_t i = 0; i < 300; ++i) {
      if (i / 100 == 1) {
        CHECK(std::isnan(found.map[i]) && found.ranking[i] == -1);
      } else {
        CHECK(found.map[i] == expected.map[i]);
      }
    }
  }
}

void TestRankingRefusals() {
  const SegmentsShape shape = {2, 1, 2, 2};
  CHECK(LabelsEnd(shape) == 1 << 16 && LabelsEnd({1, 1, 512, 512}) == 1 << 18);
  std::vector<int32_t> labels = {0, 1, 2, 65535, 0, 0, 0, 0};
  CHECK(FindBadLabel(labels.data(), shape) == -1);
  for (const int32_t bad : {-1, 65536, std::numeric_limits<int32_t>::min(),
                            std::numeric_limits<int32_t>::max()}) {
    labels[6] = bad;
    CHECK(FindBadLabel(labels.data(), shape) == 6);
  }
  const int64_t most = std::numeric_limits<int64_t>::max();
  for (const SegmentsShape& large :
       {SegmentsShape{1, 1, most, most}, {1, 1, 1, most}, {1, 1, 1 << 23, 1}})
    CHECK(XraiError(large, {}) != nullptr);
  for (const XraiOptions& options : {XraiOptions{-1, 1, 1, false},
                                     {5, 0, 1, false},
                                     {5, 1, -0.1, false},
                                     {5, 1, 1.1, false},
                                     {5, 1, NAN, false}})
    CHECK(XraiError(shape, options) != nullptr);
}

}  // namespace
}  // namespace tfsal

int main(int argc, char** argv) {
  const struct {
    const char* name;
    void (*run)();
  } tests[] = {
      {"KnownSegments", tfsal::TestKnownSegments},
      {"NaiveSegments", tfsal::TestNaiveSegments},
      {"Blur", tfsal::TestBlur},
      {"SegmentThreads", tfsal::TestSegmentThreads},
      {"SegmentAnything", tfsal::TestSegmentAnything},
      {"SegmentRefusals", tfsal::TestSegmentRefusals},
      {"KnownRanking", tfsal::TestKnownRanking},
      {"Disk", tfsal::TestDisk},
      {"NaiveRanking", tfsal::TestNaiveRanking},
      {"Sums", tfsal::TestSums},
      {"RankingThreads", tfsal::TestRankingThreads},
      {"RankAnything", tfsal::TestRankAnything},
      {"RankingRefusals", tfsal::TestRankingRefusals},
  };
  for (const auto& test : tests) {
    if (argc > 1 && !std::strstr(test.name, argv[1])) continue;
    std::printf("%s\n", test.name);
    std::fflush(stdout);
    test.run();
  }
  std::printf("passed\n");
  return 0;
}
