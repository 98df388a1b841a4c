// The kernels against cam_naive.h, with no framework. The environment variable
// TFSAL_ISA chooses the instructions once per process, so run it once for each.
//
//   cam_test [NAME]: only the tests whose name contains NAME
#include "cc/kernels/cam.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <type_traits>
#include <vector>

#include "cc/kernels/cam_naive.h"
#include "cc/kernels/threads.h"

#ifdef __SSE2__
#include <xmmintrin.h>
#endif

namespace tfsal {
namespace {

using naive::Agree;
using naive::Call;
using naive::Expected;
using naive::Reduction;
using naive::ReturnsWeights;

#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                        \
    }                                                                      \
  } while (false)

std::mt19937_64 random_bits(20210709);

int64_t Uniform(int64_t least, int64_t most) {
  return std::uniform_int_distribution<int64_t>(least, most)(random_bits);
}

// An array that ends where its allocation does, so that an address sanitizer
// sees what goes past it. It starts `offset` values into the allocation, on no
// boundary but its type's.
template <typename T>
class Array {
 public:
  explicit Array(int64_t size, int64_t offset = 0)
      : size_(size), offset_(offset), all_(new T[offset + size]) {
    std::memset(static_cast<void*>(all_.get()), 0xff,  // NaN
                (offset + size) * sizeof(T));
  }
  ~Array() {
    const auto* bytes = reinterpret_cast<const unsigned char*>(all_.get());
    for (size_t i = 0; i < offset_ * sizeof(T); ++i) CHECK(bytes[i] == 0xff);
  }
  T* data() { return all_.get() + offset_; }
  const T* data() const { return all_.get() + offset_; }
  int64_t size() const { return size_; }
  T& operator[](int64_t i) { return data()[i]; }
  const T& operator[](int64_t i) const { return data()[i]; }

 private:
  const int64_t size_, offset_;
  const std::unique_ptr<T[]> all_;
};

template <typename T>
bool SameBits(const Array<T>& x, const Array<T>& y, int64_t first,
              int64_t end) {
  return std::memcmp(x.data() + first, y.data() + first,
                     (end - first) * sizeof(T)) == 0;
}

template <typename T>
T FromBits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(value));  // the low ones
  return value;
}

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

// Calls test(T(), reduction, relu) for all of them.
template <typename Test>
void ForAll(const Test& test) {
  for (int reduction = 0; reduction < naive::kReductions; ++reduction) {
    for (const bool relu : {false, true}) {
      test(float(), static_cast<Reduction>(reduction), relu);
      test(double(), static_cast<Reduction>(reduction), relu);
      test(Half(), static_cast<Reduction>(reduction), relu);
      test(BFloat16(), static_cast<Reduction>(reduction), relu);
    }
  }
}

// None, one, few, and sizes on either side of every vector's.
CamShape DrawShape() {
  static constexpr int64_t kSizes[] = {0,  1,  2,  3,  4,  5,   7,
                                       8,  9,  15, 16, 17, 31,  33,
                                       63, 64, 65, 70, 96, 100, 130};
  const auto size = [] { return kSizes[Uniform(0, std::size(kSizes) - 1)]; };
  return {Uniform(0, 3), size(), size()};
}

void TestFormulae() {
  for (const Values values :
       {Values::kOrdinary, Values::kSpecial, Values::kBits}) {
    Tally tally;
    ForAll([&](auto type, Reduction reduction, bool relu) {
      using T = decltype(type);
      for (int i = 0; i < 24; ++i) {
        Case<T> one(reduction, DrawShape(), relu, values);
        CheckCase(one, tally);
      }
      // Rows so wide that kernels read them one after the other.
      Case<T> wide(reduction, {1, 6, Uniform(512, 1100)}, relu, values);
      CheckCase(wide, tally);
    });
    // Were nearly nothing known, this would be no test.
    CHECK(tally.unknown < tally.all / (values == Values::kBits ? 2 : 20));
    std::printf("  %lld values, %lld of them unknown\n",
                static_cast<long long>(tally.all),
                static_cast<long long>(tally.unknown));
  }
}

// Two positions and two channels, computed by hand.
void TestKnownAnswers() {
  const double third = 1 / 3., a[] = {1, 2, 3, 4}, g[] = {1, -1, 0, 2};
  const double given[] = {2, -1};
  const struct {
    Reduction reduction;
    double cam[2], weights[2];
  } answers[] = {
      {Reduction::kGradCam, {1.5, 3.5}, {0.5, 0.5}},
      {Reduction::kPlusPlusPaper,
       {third / 2 + 2 / 7., third * 1.5 + 4 / 7.},
       {third / 2, 1 / 7.}},
      {Reduction::kPlusPlusNormalized, {5, 11}, {1, 2}},
      {Reduction::kPlusPlusMean, {0.75, 1.75}, {0.25, 0.25}},
      {Reduction::kXGradCam, {2.25, 4.75}, {0.25, 1}},
      {Reduction::kHiResCam, {-1, 8}, {}},
      {Reduction::kLayerCam, {1, 8}, {}},
      {Reduction::kWeightedCam, {0, 2}, {}},
  };
  Serial serial;
  for (const auto& answer : answers) {
    for (const bool relu : {false, true}) {
      double cam[2], weights[2] = {};
      naive::Run<double>({answer.reduction, {1, 2, 2}, relu, 0, a, g, given},
                         cam, weights, serial);
      for (int i = 0; i < 2; ++i) {
        const double wanted =
            relu ? std::max(answer.cam[i], 0.) : answer.cam[i];
        CHECK(std::abs(cam[i] - wanted) < 1e-14);
        CHECK(std::abs(weights[i] - answer.weights[i]) < 1e-14);
      }
    }
  }
  // 2 + total * gradient is 0: such a term counts 0.
  const float minus_two = -2, one = 1;
  float cam = -1, weight = -1;
  for (const Reduction reduction :
       {Reduction::kPlusPlusPaper, Reduction::kPlusPlusNormalized,
        Reduction::kPlusPlusMean}) {
    naive::Run<float>(
        {reduction, {1, 1, 1}, false, 0, &minus_two, &one, nullptr}, &cam,
        &weight, serial);
    CHECK(cam == 0 && weight == 0);
  }
}

// Where every sum is exact, one value too many or too few shows however many
// there are.
void TestExactSums() {
  Serial serial;
  ForAll([&](auto type, Reduction reduction, bool relu) {
    if (ReturnsWeights(reduction) && reduction != Reduction::kGradCam) return;
    using T = decltype(type);
    for (const CamShape shape :
         {CamShape{1, 4096, 37}, CamShape{2, 16, 1030}}) {
      Case<T> one(reduction, shape, relu, Values::kIntegers);
      one.Run(serial);
      const Expected<T> expected(one.call);
      for (int64_t i = 0; i < one.cam.size(); ++i)
        CHECK(reduction == Reduction::kGradCam ||
              one.cam[i] == expected.cam[i].value);
      if (reduction != Reduction::kGradCam) continue;
      for (int64_t i = 0; i < one.weights.size(); ++i)
        CHECK(one.weights[i] == expected.weights[i].value);
    }
  });
}

// Arrays of no values have no address.
void TestEmpty() {
  Serial serial;
  ForAll([&](auto type, Reduction reduction, bool relu) {
    using T = decltype(type);
    naive::Run<T>({reduction, {0, 5, 3}, relu, 0, nullptr, nullptr, nullptr},
                  nullptr, nullptr, serial);
    Array<Sum<T>> weights(6), given(6), cam(10);
    Fill(given, Values::kOrdinary);
    naive::Run<T>(
        {reduction, {2, 0, 3}, relu, 0, nullptr, nullptr, given.data()},
        nullptr, weights.data(), serial);
    naive::Run<T>({reduction, {2, 5, 0}, relu, 0, nullptr, nullptr, nullptr},
                  cam.data(), nullptr, serial);
    for (int64_t i = 0; i < cam.size(); ++i) CHECK(cam[i] == 0);
  });
}

// Equal bits on any number of threads: examples that get a thread each, and one
// example that all of them share.
void TestThreads() {
  Serial serial;
  ThreadPool one(1), two(2), three(3), seven(7);
  ForAll([&](auto type, Reduction reduction, bool relu) {
    if (relu) return;  // of each value by itself
    using T = decltype(type);
    for (const CamShape shape :
         {CamShape{1, 2500, 70}, CamShape{4, 1100, 129}, CamShape{9, 30, 20}}) {
      Case<T> alone(reduction, shape, relu, Values::kOrdinary);
      alone.Run(serial);
      for (ThreadPool* pool : {&one, &two, &three, &seven}) {
        Case<T> together(alone);
        together.Run(*pool);
        CHECK(alone.Same(together));
      }
    }
  });
}

// What is wrong with one example stays there.
void TestNeighbours() {
  ThreadPool threads(2);
  ForAll([&](auto type, Reduction reduction, bool relu) {
    using T = decltype(type);
    const CamShape shape = {3, Uniform(1, 40), Uniform(1, 40)};
    Case<T> clean(reduction, shape, relu, Values::kOrdinary);
    Case<T> spoilt(clean);
    const int64_t size = shape.positions * shape.channels;
    for (int64_t i = size; i < 2 * size; ++i)
      spoilt.a[i] = spoilt.g[i] = Draw<T>(Values::kBits);
    clean.Run(threads);
    spoilt.Run(threads);
    CHECK(clean.SameExample(spoilt, 0) && clean.SameExample(spoilt, 2));
  });
}

// TensorFlow's threads flush denormals. Those of Half are none of float's.
void TestFlushedDenormals() {
#ifdef __SSE2__
  Case<Half> one(Reduction::kHiResCam, {1, 9, 37}, false, Values::kOrdinary);
  for (int64_t i = 0; i < one.a.size(); ++i)
    one.a[i].bits = Uniform(1, 1023) | Uniform(0, 1) << 15;
  const unsigned mode = _mm_getcsr();
  _mm_setcsr(mode | 0x8040);  // results to 0, and inputs too
  Serial serial;
  one.Run(serial);
  _mm_setcsr(mode);
  const Expected<Half> expected(one.call);
  for (int64_t i = 0; i < one.cam.size(); ++i) {
    CHECK(one.cam[i] != 0);
    CHECK(Agree(expected.cam[i], one.cam[i]));
  }
#endif
}

void TestThreadPool() {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    CHECK(pool.Threads() == threads);
    for (int round = 0; round < 300; ++round) {
      std::vector<int> calls(Uniform(0, 20));
      // Not atomic: each task has a value of its own, and For() waits for all.
      pool.For(calls.size(), [&](int64_t i) { ++calls[i]; });
      for (const int count : calls) CHECK(count == 1);
    }
  }
}

}  // namespace
}  // namespace tfsal

int main(int argc, char** argv) {
  const struct {
    const char* name;
    void (*run)();
  } tests[] = {
      {"ThreadPool", tfsal::TestThreadPool},
      {"KnownAnswers", tfsal::TestKnownAnswers},
      {"Empty", tfsal::TestEmpty},
      {"Formulae", tfsal::TestFormulae},
      {"ExactSums", tfsal::TestExactSums},
      {"FlushedDenormals", tfsal::TestFlushedDenormals},
      {"Neighbours", tfsal::TestNeighbours},
      {"Threads", tfsal::TestThreads},
  };
  std::printf("instructions: %s\n", tfsal::InstructionSet());
  for (const auto& test : tests) {
    if (argc > 1 && !std::strstr(test.name, argv[1])) continue;
    std::printf("%s\n", test.name);
    std::fflush(stdout);
    test.run();
  }
  std::printf("passed\n");
  return 0;
}
