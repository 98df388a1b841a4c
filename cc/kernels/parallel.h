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

}  // namespace tfsal

#endif  // TFSAL_CC_KERNELS_PARALLEL_H_
