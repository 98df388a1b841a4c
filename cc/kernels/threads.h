// Parallel on threads of its own, for hosts that have no pool.
#ifndef TFSAL_CC_KERNELS_THREADS_H_
#define TFSAL_CC_KERNELS_THREADS_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "cc/kernels/parallel.h"

namespace tfsal {

// A fixed number of threads that wait for work; the calling thread is one of
// them. Not for use by several callers at once.
class ThreadPool final : public Parallel {
 public:
  explicit ThreadPool(int threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { Wait(); });
  }

  ~ThreadPool() override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    start_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  int Threads() const override { return static_cast<int>(workers_.size()) + 1; }

  void For(int64_t count, const std::function<void(int64_t)>& task) override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      task_ = &task;
      next_ = 0;
      count_ = left_ = count;
    }
    start_.notify_all();
    std::unique_lock<std::mutex> lock(mutex_);
    Work(lock);
    done_.wait(lock, [this] { return left_ == 0; });
    task_ = nullptr;
  }

 private:
  void Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      start_.wait(lock, [this] { return stop_ || (task_ && next_ < count_); });
      if (stop_) return;
      Work(lock);
    }
  }

  // Takes tasks until none is left; the lock is held except while one runs.
  void Work(std::unique_lock<std::mutex>& lock) {
    while (next_ < count_) {
      const int64_t mine = next_++;
      const std::function<void(int64_t)>& task = *task_;
      lock.unlock();
      task(mine);
      lock.lock();
      if (--left_ == 0) done_.notify_all();
    }
  }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable start_, done_;
  const std::function<void(int64_t)>* task_ = nullptr;
  int64_t next_ = 0, count_ = 0, left_ = 0;
  bool stop_ = false;
};

}  // namespace tfsal

#endif  // TFSAL_CC_KERNELS_THREADS_H_
