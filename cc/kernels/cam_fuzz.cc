// Any bytes as a call of a kernel, compared with cam_naive.h.
//
//   cam_fuzz [INPUTS]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cc/kernels/cam.h"
#include "cc/kernels/cam_naive.h"
#include "cc/kernels/fuzz_tools.h"

namespace tfsal {
namespace {

using fuzz::Array;
using fuzz::Backwards;
using fuzz::Bytes;
using naive::Call;
using naive::Expected;
using naive::Number;
using naive::Reduction;

// Values that were compared, and of how many of them nothing was known.
int64_t compared = 0, unknown = 0;

template <typename T>
T Value(Bytes& bytes, bool raw) {
  if (raw) {
    unsigned char all[sizeof(T)];
    for (unsigned char& byte : all) byte = bytes.Next();
    T value;
    std::memcpy(&value, all, sizeof(value));
    return value;
  }
  const int byte = bytes.Next(), specials = std::size(naive::kSpecials);
  // Sixteenths, because a bfloat16 holds them all.
  return naive::Narrow<T>(byte < specials ? naive::kSpecials[byte]
                                          : (byte - 133) / 16.);
}

template <typename S>
void Compare(const char* what, const std::vector<Number>& expected,
             const Array<S>& found, const Array<S>& backwards) {
  for (size_t i = 0; i < expected.size(); ++i) {
    ++compared;
    unknown += !expected[i].Known();
    if (!naive::Agree(expected[i], found.data[i])) {
      std::fprintf(stderr, "%s %zu is %.9g, not %.9Lg within %.3Lg\n", what, i,
                   static_cast<double>(found.data[i]), expected[i].value,
                   expected[i].error);
      std::abort();
    }
  }
  if (std::memcmp(found.data, backwards.data, found.size * sizeof(S)) != 0) {
    std::fprintf(stderr, "%s: the order of tasks shows\n", what);
    std::abort();
  }
}

template <typename T>
void Test(Bytes bytes) {
  using S = Sum<T>;
  const auto reduction =
      static_cast<Reduction>(bytes.Next() % naive::kReductions);
  const int flags = bytes.Next();
  const bool relu = flags & 1, raw = flags & 2;
  CamShape shape = {bytes.Next() % 4, bytes.Next() % 41, bytes.Next() % 71};
  // Now and then many rows, or wide ones.
  if (flags >> 2 == 1) shape.positions *= 30;
  if (flags >> 2 == 2) shape.channels *= 30;
  const int64_t rows = shape.examples * shape.positions;
  const int64_t channels = shape.examples * shape.channels;
  const auto offset = [&] { return bytes.Next() % 8; };
  Array<T> a(rows * shape.channels, offset()), g(a.size, offset());
  Array<S> given(channels, offset());
  Array<S> cam(rows, offset()), weights(channels, offset());
  Array<S> cam_again(rows, offset()), weights_again(channels, offset());
  for (Array<T>* array : {&a, &g})
    for (int64_t i = 0; i < array->size; ++i)
      array->data[i] = Value<T>(bytes, raw);
  for (int64_t i = 0; i < given.size; ++i) given.data[i] = Value<S>(bytes, raw);

  const Call<T> call = {reduction, shape,  relu,      flags & 128 ? 1e-7 : 0.,
                        a.data,    g.data, given.data};
  Serial serial;
  Backwards backwards(bytes.Next() % 4 + 1);
  naive::Run(call, cam.data, weights.data, serial);
  naive::Run(call, cam_again.data, weights_again.data, backwards);
  const Expected<T> expected(call);
  Compare("map value", expected.cam, cam, cam_again);
  Compare("weight", expected.weights, weights, weights_again);
}

}  // namespace
}  // namespace tfsal

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tfsal::Bytes bytes(data, size);
  switch (bytes.Next() % 4) {
    case 0:
      tfsal::Test<float>(bytes);
      break;
    case 1:
      tfsal::Test<double>(bytes);
      break;
    case 2:
      tfsal::Test<tfsal::Half>(bytes);
      break;
    default:
      tfsal::Test<tfsal::BFloat16>(bytes);
  }
  return 0;
}

#ifdef TFSAL_FUZZ_MAIN
int main(int argc, char** argv) {
  const long inputs = tfsal::fuzz::Inputs(argc, argv);
  std::printf("%s: %ld inputs, %lld values, %lld of them unknown\n",
              tfsal::InstructionSet(), inputs,
              static_cast<long long>(tfsal::compared),
              static_cast<long long>(tfsal::unknown));
  return 0;
}
#endif
