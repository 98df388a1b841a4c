// Any bytes as a segmentation or as XRAI's ranking, compared with
// regions_naive.h.
//
//   regions_fuzz [INPUTS]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "cc/kernels/felzenszwalb.h"
#include "cc/kernels/fuzz_tools.h"
#include "cc/kernels/regions_naive.h"
#include "cc/kernels/xrai.h"

namespace tfsal {
namespace {

using fuzz::Array;
using fuzz::Backwards;
using fuzz::Bytes;

int64_t segmented = 0, ranked = 0, refused = 0;

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

template <typename T>
bool Same(const Array<T>& a, const Array<T>& b) {
  return std::memcmp(a.data, b.data, a.size * sizeof(T)) == 0;
}

template <typename T>
T AnyBits(Bytes& bytes) {
  unsigned char all[sizeof(T)];
  for (unsigned char& byte : all) byte = bytes.Next();
  T value;
  std::memcpy(&value, all, sizeof(value));
  return value;
}

// Mostly something reasonable, and now and then anything.
double Parameter(Bytes& bytes, double most) {
  return bytes.Next() < 250 ? bytes.Next() / 255. * most
                            : AnyBits<double>(bytes);
}

int64_t Count(Bytes& bytes, int64_t end) {
  return bytes.Next() < 250 ? bytes.Next() % end : AnyBits<int64_t>(bytes);
}

template <typename T>
void Segment(Bytes bytes) {
  const ImageShape shape = {bytes.Next() % 4, bytes.Next() % 24,
                            bytes.Next() % 24, bytes.Next() % 5};
  std::vector<double> scales(bytes.Next() % 4);
  for (double& scale : scales) scale = Parameter(bytes, 500);
  const bool blurred = bytes.Next() % 2, raw = bytes.Next() % 4 == 0;
  const FelzenszwalbOptions options = {
      scales.data(), static_cast<int64_t>(scales.size()),
      blurred ? Parameter(bytes, 10) : 0, Count(bytes, 40)};
  if (FelzenszwalbError(shape, options) != nullptr) {
    ++refused;
    return;
  }
  const int64_t pixels = shape.height * shape.width;
  Array<T> images(shape.examples * pixels * shape.channels, bytes.Next() % 8);
  for (int64_t i = 0; i < images.size; ++i)
    images.data[i] = raw ? AnyBits<T>(bytes) : T(bytes.Next() / 16);
  Array<int32_t> labels(shape.examples * options.scale_count * pixels,
                        bytes.Next() % 8);
  Array<int32_t> again(labels.size, bytes.Next() % 8);
  Serial serial;
  Backwards backwards(bytes.Next() % 4 + 1);
  Felzenszwalb(images.data, shape, options, labels.data, serial);
  Felzenszwalb(images.data, shape, options, again.data, backwards);
  Require(Same(labels, again), "labels: the order of tasks shows");
  ++segmented;
  for (int64_t i = 0; i < shape.examples * options.scale_count; ++i) {
    const int32_t* found = labels.data + i * pixels;
    int32_t next = 0;
    for (int64_t j = 0; j < pixels; ++j) {
      Require(found[j] >= 0 && found[j] <= next, "labels: numbered wrongly");
      next += found[j] == next;
    }
    if (options.sigma > 1e-15) continue;
    const std::vector<int32_t> expected = naive::Segment(
        images.data + i / options.scale_count * pixels * shape.channels, shape,
        scales[i % options.scale_count], options.min_size);
    Require(std::equal(expected.begin(), expected.end(), found),
            "labels: others than the naive ones");
  }
}

void Rank(Bytes bytes) {
  const SegmentsShape shape = {bytes.Next() % 4, bytes.Next() % 4,
                               bytes.Next() % 12, bytes.Next() % 140};
  const XraiOptions options = {Count(bytes, 7), Count(bytes, 20),
                               Parameter(bytes, 1), bytes.Next() % 2 == 0};
  const int kind = bytes.Next() % 8;
  const int64_t pixels = shape.height * shape.width;
  Array<float> attribution(shape.examples * pixels, bytes.Next() % 8);
  Array<int32_t> labels(shape.examples * shape.scales * pixels,
                        bytes.Next() % 8);
  // Integers, of which every sum is exact, or anything.
  for (int64_t i = 0; i < attribution.size; ++i) {
    attribution.data[i] = kind == 0 ? AnyBits<float>(bytes)
                                    : static_cast<float>(bytes.Next() % 17 - 8);
  }
  const int run = bytes.Next() % 8 + 1, most = bytes.Next() % 9 + 1;
  for (int64_t i = 0; i < labels.size; ++i) {
    if (kind == 1) {
      labels.data[i] = AnyBits<int32_t>(bytes);
    } else {
      labels.data[i] = i % run == 0 ? bytes.Next() % most : labels.data[i - 1];
    }
  }
  if (XraiError(shape, options) != nullptr ||
      FindBadLabel(labels.data, shape) >= 0) {
    ++refused;
    return;
  }
  Array<float> map(attribution.size, bytes.Next() % 8);
  Array<int32_t> ranking(attribution.size, bytes.Next() % 8);
  Array<float> map_again(attribution.size, bytes.Next() % 8);
  Array<int32_t> ranking_again(attribution.size, bytes.Next() % 8);
  Serial serial;
  Backwards backwards(bytes.Next() % 4 + 1);
  Xrai(attribution.data, labels.data, shape, options, map.data, ranking.data,
       serial);
  Xrai(attribution.data, labels.data, shape, options, map_again.data,
       ranking_again.data, backwards);
  Require(Same(map, map_again) && Same(ranking, ranking_again),
          "XRAI: the order of tasks shows");
  ++ranked;
  for (int64_t i = 0; i < shape.examples; ++i) {
    const float* values = attribution.data + i * pixels;
    const float* found = map.data + i * pixels;
    if (!std::all_of(values, values + pixels,
                     [](float x) { return std::isfinite(x); })) {
      for (int64_t j = 0; j < pixels; ++j) {
        Require(std::isnan(found[j]) && ranking.data[i * pixels + j] == -1,
                "XRAI: a number of NaN or infinity");
      }
    } else if (kind != 0) {
      const naive::Regions expected(
          values, labels.data + i * shape.scales * pixels, shape, options);
      Require(std::equal(expected.map.begin(), expected.map.end(), found),
              "XRAI: another map than the naive one");
      Require(std::equal(expected.ranking.begin(), expected.ranking.end(),
                         ranking.data + i * pixels),
              "XRAI: another ranking than the naive one");
    }
  }
}

}  // namespace
}  // namespace tfsal

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tfsal::Bytes bytes(data, size);
  switch (bytes.Next() % 4) {
    case 0:
      tfsal::Segment<float>(bytes);
      break;
    case 1:
      tfsal::Segment<double>(bytes);
      break;
    default:
      tfsal::Rank(bytes);
  }
  return 0;
}

#ifdef TFSAL_FUZZ_MAIN
int main(int argc, char** argv) {
  const long inputs = tfsal::fuzz::Inputs(argc, argv);
  std::printf("%ld inputs: %lld segmented, %lld ranked, %lld refused\n", inputs,
              static_cast<long long>(tfsal::segmented),
              static_cast<long long>(tfsal::ranked),
              static_cast<long long>(tfsal::refused));
  return 0;
}
#endif
