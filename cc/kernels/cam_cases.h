// Cases for tests of the kernels: drawn inputs, room for the results, and the
// comparison with cam_naive.h.

#ifndef TFSAL_CC_KERNELS_CAM_CASES_H_
#define TFSAL_CC_KERNELS_CAM_CASES_H_

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <random>
#include <type_traits>
#include <vector>

#include "cc/kernels/cam.h"
#include "cc/kernels/cam_naive.h"
#include "cc/kernels/test_tools.h"

namespace tfsal {

using naive::Agree;
using naive::Call;
using naive::Expected;
using naive::Reduction;
using naive::ReturnsWeights;

enum class Values {
  kOrdinary,  // of either sign, of sizes that are far from overflow
  kIntegers,  // from -8 to 8, which add up exactly
  kSpecial,   // ordinary ones, and now and then one of kSpecials
  kBits,      // any bits
};

template <typename T>
constexpr const char* kName = std::is_same_v<T, double>  ? "double"
                              : std::is_same_v<T, float> ? "float"
                              : std::is_same_v<T, Half>  ? "half"
                                                         : "bfloat16";
template <typename T>
T Draw(Values values) {
  if (values == Values::kBits) return FromBits<T>(random_bits());
  if (values == Values::kIntegers)
    return naive::Narrow<T>(static_cast<double>(Uniform(-8, 8)));
  if (values == Values::kSpecial && Uniform(0, 255) == 0) {
    const int last = std::size(naive::kSpecials) - 1;
    return naive::Narrow<T>(naive::kSpecials[Uniform(0, last)]);
  }
  const double size = std::uniform_real_distribution<>(1, 2)(random_bits);
  return naive::Narrow<T>(std::ldexp(Uniform(0, 1) ? size : -size,
                                     static_cast<int>(Uniform(-3, 1))));
}

template <typename T>
void Fill(Array<T>& array, Values values) {
  for (int64_t i = 0; i < array.size(); ++i) array[i] = Draw<T>(values);
}

// Inputs of a call and room for its results.
template <typename T>
struct Case {
  Case(Reduction reduction, CamShape shape, bool relu, Values values)
      : Case(reduction, shape, relu) {
    Fill(a, values);
    Fill(g, values);
    Fill(given, values);
  }

  // The same call, with room for its results elsewhere.
  explicit Case(const Case& other)
      : Case(other.call.reduction, other.call.shape, other.call.relu) {
    call.epsilon = other.call.epsilon;
    std::copy_n(other.a.data(), a.size(), a.data());
    std::copy_n(other.g.data(), g.size(), g.data());
    std::copy_n(other.given.data(), given.size(), given.data());
  }

  void Run(Parallel& parallel) {
    naive::Run(call, cam.data(), weights.data(), parallel);
  }

  bool SameExample(const Case& other, int64_t i) const {
    const CamShape& shape = call.shape;
    return SameBits(cam, other.cam, i * shape.positions,
                    (i + 1) * shape.positions) &&
           (!ReturnsWeights(call.reduction) ||
            SameBits(weights, other.weights, i * shape.channels,
                     (i + 1) * shape.channels));
  }

  bool Same(const Case& other) const {
    for (int64_t i = 0; i < call.shape.examples; ++i)
      if (!SameExample(other, i)) return false;
    return true;
  }

  Array<T> a, g;
  Array<Sum<T>> given, cam, weights;
  Call<T> call;

 private:
  Case(Reduction reduction, CamShape shape, bool relu)
      : a(shape.examples * shape.positions * shape.channels, Uniform(0, 9)),
        g(a.size(), Uniform(0, 9)),
        given(shape.examples * shape.channels, Uniform(0, 9)),
        cam(shape.examples * shape.positions, Uniform(0, 9)),
        weights(given.size(), Uniform(0, 9)),
        call{reduction, shape,    relu,        Uniform(0, 1) ? 1e-7 : 0.5,
             a.data(),  g.data(), given.data()} {}
};

// How many values were compared, and of how many nothing was known.
struct Tally {
  int64_t all = 0, unknown = 0;

  template <typename S>
  bool Compare(const std::vector<naive::Number>& expected,
               const Array<S>& found) {
    CHECK(static_cast<int64_t>(expected.size()) == found.size());
    for (int64_t i = 0; i < found.size(); ++i) {
      ++all;
      unknown += !expected[i].Known();
      if (Agree(expected[i], found[i])) continue;
      std::fprintf(stderr, "value %lld is %.9g, not %.9Lg within %.3Lg\n",
                   static_cast<long long>(i), static_cast<double>(found[i]),
                   expected[i].value, expected[i].error);
      return false;
    }
    return true;
  }
};

template <typename T>
void CheckCase(Case<T>& one, Tally& tally) {
  Serial serial;
  one.Run(serial);
  const Expected<T> expected(one.call);
  bool same = tally.Compare(expected.cam, one.cam);
  if (ReturnsWeights(one.call.reduction)) {
    same &= tally.Compare(expected.weights, one.weights);
  } else {
    for (int64_t i = 0; i < one.weights.size(); ++i)
      CHECK(std::isnan(one.weights[i]));  // not written
  }
  if (!same) {
    const CamShape& shape = one.call.shape;
    std::fprintf(
        stderr, "... reduction %d of [%d, %d, %d]%s, %s\n",
        static_cast<int>(one.call.reduction), static_cast<int>(shape.examples),
        static_cast<int>(shape.positions), static_cast<int>(shape.channels),
        one.call.relu ? " with relu" : "", kName<T>);
    std::exit(1);
  }
}

}  // namespace tfsal

#endif  // TFSAL_CC_KERNELS_CAM_CASES_H_
