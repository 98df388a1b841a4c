// For the tests of cam.h: its formulae written down once more, with plain loops
// in the widest floating point there is, and how far from that a result in
// float or double may be.
#ifndef TFSAL_CC_KERNELS_CAM_NAIVE_H_
#define TFSAL_CC_KERNELS_CAM_NAIVE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "cc/kernels/cam.h"
#include "cc/kernels/types.h"

namespace tfsal::naive {

using Wide = long double;

inline Wide Value(float x) { return x; }
inline Wide Value(double x) { return x; }
inline Wide Value(Half x) {
  const int sign = x.bits >> 15, exponent = x.bits >> 10 & 31;
  const int fraction = x.bits & 1023;
  Wide value = std::ldexp(Wide(fraction), -24);
  if (exponent > 0) value = std::ldexp(Wide(1024 + fraction), exponent - 25);
  if (exponent == 31) value = fraction ? std::nanl("") : HUGE_VALL;
  return sign ? -value : value;
}
inline Wide Value(BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// x as a T, cut off where T has less room.
template <typename T>
T Narrow(double x) {
  return static_cast<T>(x);
}
template <>
inline BFloat16 Narrow(double x) {
  const float narrow = static_cast<float>(x);
  uint32_t bits;
  std::memcpy(&bits, &narrow, sizeof(bits));
  return {static_cast<uint16_t>(bits >> 16)};
}
template <>
inline Half Narrow(double x) {
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const double size = std::abs(x);
  int bits = 0x7c00;
  if (std::isnan(x)) {
    bits = 0x7e00;
  } else if (size < 0x1p-14) {
    bits = static_cast<int>(size * 0x1p24);
  } else if (size < 0x1p16) {
    const int exponent = std::ilogb(size);
    bits = (exponent + 14) * 1024 +
           static_cast<int>(std::ldexp(size, 10 - exponent));
  }
  return {static_cast<uint16_t>(sign | bits)};
}

// Values that some type or other finds hard: denormal or least in one of them.
constexpr double kSpecials[] = {0,         -0.0,     0x1p-20,   0x1p-130,
                                0x1p-1060, 0x1p-14,  -0x1p-126, -0x1p-24,
                                0x1p-149,  HUGE_VAL, -HUGE_VAL, NAN};

// What a computation in S, in whatever order it adds up, may arrive at: a
// number no further than `error` from `value`. Where value is NaN or infinite
// it is just that, and where error is infinite nothing is known: an overflow
// may lie on some ways and not on others.
struct Number {
  Wide value, error;

  bool Known() const { return !std::isinf(error); }
  bool IsNan() const { return std::isnan(value); }
  bool IsInf() const { return std::isinf(value); }
  bool IsZero() const { return value == 0 && error == 0; }
  bool MayBeZero() const { return std::abs(value) <= error; }
};

constexpr Number kUnknown = {0, std::numeric_limits<Wide>::infinity()};
constexpr Number kNan = {std::numeric_limits<Wide>::quiet_NaN(), 0};

inline Number Exactly(Wide value) { return {value, 0}; }

// The result of one operation, before it is rounded to S.
template <typename S>
Number Rounded(Number x) {
  const Wide size = std::abs(x.value) + x.error;
  if (!(size <= std::numeric_limits<S>::max() / 2)) return kUnknown;
  x.error += size * std::numeric_limits<S>::epsilon();
  return x;
}

template <typename S>
Number Multiply(Number a, Number b) {
  if (a.IsNan() || b.IsNan()) return kNan;
  if (!a.Known() || !b.Known()) return kUnknown;
  if (a.IsInf() || b.IsInf()) {
    if (a.IsZero() || b.IsZero()) return kNan;
    if (a.MayBeZero() || b.MayBeZero()) return kUnknown;
    return Exactly(a.value * b.value);
  }
  if (a.IsZero() || b.IsZero()) return Exactly(0);
  return Rounded<S>(
      {a.value * b.value, std::abs(a.value) * b.error +
                              std::abs(b.value) * a.error + a.error * b.error +
                              std::numeric_limits<S>::denorm_min()});
}

template <typename S>
Number Divide(Number a, Number b) {
  if (a.IsNan() || b.IsNan()) return kNan;
  if (!a.Known() || !b.Known()) return kUnknown;
  if (a.IsInf() && b.IsInf()) return kNan;
  if (b.IsInf()) return Exactly(0);
  if (a.IsZero() && b.IsZero()) return kNan;
  if (b.MayBeZero()) return kUnknown;
  if (a.IsInf()) return Exactly(a.value * b.value);
  const Wide value = a.value / b.value;
  return Rounded<S>(
      {value,
       (a.error + std::abs(value) * b.error) / (std::abs(b.value) - b.error) +
           (a.IsZero() ? 0 : std::numeric_limits<S>::denorm_min())});
}

// The sum of terms, in any order.
template <typename S>
class Adder {
 public:
  void Add(Number term) {
    ++count_;
    if (term.IsNan()) {
      nan_ = true;
    } else if (term.IsInf()) {
      (term.value > 0 ? positive_ : negative_) = true;
    } else {
      value_ += term.value;
      size_ += std::abs(term.value) + term.error;
      error_ += term.error;
    }
  }

  Number Total() const {
    if (nan_ || (positive_ && negative_)) return kNan;
    if (!(size_ <= std::numeric_limits<S>::max() / 2)) return kUnknown;
    if (positive_) return Exactly(HUGE_VALL);
    if (negative_) return Exactly(-HUGE_VALL);
    if (count_ < 2) return {value_, error_};
    return {value_,
            error_ + size_ * count_ * std::numeric_limits<S>::epsilon()};
  }

 private:
  int64_t count_ = 0;
  Wide value_ = 0, size_ = 0, error_ = 0;
  bool nan_ = false, positive_ = false, negative_ = false;
};

enum class Reduction {
  kGradCam,
  kPlusPlusPaper,
  kPlusPlusNormalized,
  kPlusPlusMean,
  kXGradCam,
  kHiResCam,
  kLayerCam,
  kWeightedCam,
};
constexpr int kReductions = 8;

inline bool ReturnsWeights(Reduction reduction) {
  return reduction < Reduction::kHiResCam;
}

// A call of one of the kernels: g are gradients, or for kWeightedCam nothing,
// and given_weights the weights.
template <typename T>
struct Call {
  Reduction reduction;
  CamShape shape;
  bool relu;
  double epsilon;  // of kXGradCam
  const T *a, *g;
  const Sum<T>* given_weights;
};

// Calls the kernel itself.
template <typename T>
void Run(const Call<T>& call, Sum<T>* cam, Sum<T>* weights,
         Parallel& parallel) {
  const auto plus_plus = [&](PlusPlusAlpha alpha) {
    GradCamPlusPlus(call.a, call.g, call.shape, alpha, call.relu, cam, weights,
                    parallel);
  };
  switch (call.reduction) {
    case Reduction::kGradCam:
      return GradCam(call.a, call.g, call.shape, call.relu, cam, weights,
                     parallel);
    case Reduction::kPlusPlusPaper:
      return plus_plus(PlusPlusAlpha::kPaper);
    case Reduction::kPlusPlusNormalized:
      return plus_plus(PlusPlusAlpha::kNormalized);
    case Reduction::kPlusPlusMean:
      return plus_plus(PlusPlusAlpha::kMean);
    case Reduction::kXGradCam:
      return XGradCam(call.a, call.g, call.shape, call.epsilon, call.relu, cam,
                      weights, parallel);
    case Reduction::kHiResCam:
      return HiResCam(call.a, call.g, call.shape, call.relu, cam, parallel);
    case Reduction::kLayerCam:
      return LayerCam(call.a, call.g, call.shape, call.relu, cam, parallel);
    case Reduction::kWeightedCam:
      return WeightedCam(call.a, call.given_weights, call.shape, call.relu, cam,
                         parallel);
  }
}

// What the kernel should find.
template <typename T>
struct Expected {
  std::vector<Number> cam, weights;

  explicit Expected(const Call<T>& call) : call_(call) {
    const CamShape& shape = call.shape;
    for (int64_t i = 0; i < shape.examples; ++i) {
      if (ReturnsWeights(call.reduction))
        for (int64_t k = 0; k < shape.channels; ++k)
          weights.push_back(Weight(i, k));
      for (int64_t p = 0; p < shape.positions; ++p) cam.push_back(Map(i, p));
    }
  }

 private:
  using S = Sum<T>;

  Number A(int64_t i, int64_t p, int64_t k) const {
    return At(call_.a, i, p, k);
  }
  Number G(int64_t i, int64_t p, int64_t k) const {
    return At(call_.g, i, p, k);
  }
  Number At(const T* x, int64_t i, int64_t p, int64_t k) const {
    return Exactly(
        Value(x[(i * call_.shape.positions + p) * call_.shape.channels + k]));
  }
  Number Positions() const { return Exactly(Wide(call_.shape.positions)); }

  // The sum of term(p) over positions.
  template <typename Term>
  Number OverPositions(const Term& term) const {
    Adder<S> sum;
    for (int64_t p = 0; p < call_.shape.positions; ++p) sum.Add(term(p));
    return sum.Total();
  }

  Number Weight(int64_t i, int64_t k) const {
    const auto a = [&](int64_t p) { return A(i, p, k); };
    const auto g = [&](int64_t p) { return G(i, p, k); };
    if (call_.reduction == Reduction::kGradCam)
      return Divide<S>(OverPositions(g), Positions());
    if (call_.reduction == Reduction::kXGradCam) {
      Adder<S> below;
      below.Add(OverPositions(a));
      below.Add(Exactly(static_cast<S>(call_.epsilon)));
      return Divide<S>(
          OverPositions([&](int64_t p) { return Multiply<S>(a(p), g(p)); }),
          below.Total());
    }
    Number total = OverPositions(a);
    if (call_.reduction == Reduction::kPlusPlusMean)
      total = Divide<S>(total, Positions());
    const auto alpha = [&](int64_t p) {
      if (g(p).value <= 0) return Exactly(0);
      Adder<S> below;
      below.Add(Exactly(2));
      below.Add(Multiply<S>(total, g(p)));
      if (below.Total().IsZero()) return Exactly(0);
      return Divide<S>(Exactly(1), below.Total());
    };
    const Number weight = OverPositions([&](int64_t p) {
      return g(p).value <= 0 ? Exactly(0) : Multiply<S>(alpha(p), g(p));
    });
    if (call_.reduction != Reduction::kPlusPlusNormalized) return weight;
    const Number all = OverPositions(alpha);
    return all.IsZero() ? weight : Divide<S>(weight, all);
  }

  Number Map(int64_t i, int64_t p) const {
    Adder<S> sum;
    for (int64_t k = 0; k < call_.shape.channels; ++k) {
      const int64_t channel = i * call_.shape.channels + k;
      Number factor;
      if (ReturnsWeights(call_.reduction)) {
        factor = weights[channel];
      } else if (call_.reduction == Reduction::kWeightedCam) {
        factor = Exactly(call_.given_weights[channel]);
      } else {
        factor = G(i, p, k);
        if (call_.reduction == Reduction::kLayerCam && factor.value < 0)
          factor = Exactly(0);
      }
      sum.Add(Multiply<S>(A(i, p, k), factor));
    }
    const Number total = sum.Total();
    if (!call_.relu || !(total.value < 0)) return total;
    return total.IsInf() ? Exactly(0) : Number{0, total.error};
  }

  const Call<T>& call_;
};

// Whether `found` is what was expected, where that is known.
template <typename S>
bool Agree(Number expected, S found) {
  if (!expected.Known()) return true;
  if (expected.IsNan()) return std::isnan(found);
  if (expected.IsInf()) return found == expected.value;
  return std::abs(found - expected.value) <= expected.error;
}

}  // namespace tfsal::naive

#endif  // TFSAL_CC_KERNELS_CAM_NAIVE_H_
