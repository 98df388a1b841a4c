// How a kernel runs its parts: the host's thread pool behind one interface.
#ifndef TFSAL_CC_KERNELS_PARALLEL_H_
#define TFSAL_CC_KERNELS_PARALLEL_H_

#include <cstdint>
#include <functional>

namespace tfsal {

class Parallel {
 public:
  virtual ~Parallel() = default;

  // Number of tasks that run at one time.
  virtual int Threads() const = 0;

  // Calls task(0), ..., task(count - 1), in any order and on any thread, and
  // returns when all are done.
  virtual void For(int64_t count, const std::function<void(int64_t)>& task) = 0;
};

// Everything on the calling thread.
class Serial final : public Parallel {
 public:
  int Threads() const override { return 1; }
  void For(int64_t count, const std::function<void(int64_t)>& task) override {
    for (int64_t i = 0; i < count; ++i) task(i);
  }
};

// Calls example(i, inner) for all examples: each on one thread where there are
// as many of them as threads, and otherwise one after the other, with all
// threads as `inner`.
template <typename Example>
void ForExamples(int64_t count, Parallel& parallel, const Example& example) {
  if (count >= parallel.Threads()) {
    parallel.For(count, [&](int64_t i) {
      Serial serial;
      example(i, serial);
    });
  } else {
    for (int64_t i = 0; i < count; ++i) example(i, parallel);
  }
}

}  // namespace tfsal

#endif  // TFSAL_CC_KERNELS_PARALLEL_H_
