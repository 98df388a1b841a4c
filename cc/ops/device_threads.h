// TensorFlow's own threads, for the kernels of ops on a CPU.
#ifndef TFSAL_CC_OPS_DEVICE_THREADS_H_
#define TFSAL_CC_OPS_DEVICE_THREADS_H_

#include "cc/kernels/parallel.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/platform/threadpool.h"

namespace tfsal {

class DeviceThreads final : public Parallel {
 public:
  explicit DeviceThreads(tensorflow::OpKernelContext* c)
      : workers_(*c->device()->tensorflow_cpu_worker_threads()) {}

  int Threads() const override { return workers_.num_threads; }

  void For(int64_t count, const std::function<void(int64_t)>& task) override {
    if (count == 1 || workers_.num_threads == 1) {
      Serial().For(count, task);
      return;
    }
    using Schedule = tensorflow::thread::ThreadPool::SchedulingParams;
    const Schedule one_by_one = Schedule::Fixed(1);
    workers_.workers->ParallelFor(count, one_by_one,
                                  [&task](int64_t first, int64_t last) {
                                    for (; first < last; ++first) task(first);
                                  });
  }

 private:
  const tensorflow::DeviceBase::CpuWorkerThreads& workers_;
};

}  // namespace tfsal

#endif  // TFSAL_CC_OPS_DEVICE_THREADS_H_
