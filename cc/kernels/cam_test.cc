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

#include "cc/kernels/cam_cases.h"
#include "cc/kernels/cam_naive.h"
#include "cc/kernels/threads.h"

#ifdef __SSE2__
#include <xmmintrin.h>
#endif

namespace tfsal {
namespace {

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
