// What the Python modules share: threads, and what is said of arrays.
#ifndef TFSAL_CC_PYTHON_ARRAYS_H_
#define TFSAL_CC_PYTHON_ARRAYS_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cc/kernels/threads.h"

namespace tfsal {

constexpr char kNotReadable[] =
    " is not C-contiguous and aligned, and nothing is copied here: pass "
    "numpy.require(..., requirements=['C', 'A'])";

// One pool for the process; callers take turns.
inline void WithThreads(int threads,
                        const std::function<void(Parallel&)>& run) {
  if (threads == 1) {
    Serial serial;
    run(serial);
    return;
  }
  static std::mutex mutex;
  static auto* pools = new std::vector<ThreadPool*>;
  if (threads == 0)
    threads = std::max<int>(std::thread::hardware_concurrency(), 1);
  std::lock_guard<std::mutex> lock(mutex);
  ThreadPool* pool = nullptr;
  for (ThreadPool* one : *pools)
    if (one->Threads() == threads) pool = one;
  if (pool == nullptr) pools->push_back(pool = new ThreadPool(threads));
  run(*pool);
}

inline std::string Describe(const pybind11::array& array) {
  return std::string(pybind11::str(array.attr("shape"))) + " " +
         std::string(pybind11::str(array.dtype()));
}

inline bool Readable(const pybind11::array& a) {
  const pybind11::object flags = a.attr("flags");
  return pybind11::bool_(flags.attr("c_contiguous")) &&
         pybind11::bool_(flags.attr("aligned"));
}

inline void CheckThreads(int threads) {
  if (threads < 0 || threads > 1024) {
    throw pybind11::value_error(
        "threads is 1 to 1024, or 0 for one per processor");
  }
}

}  // namespace tfsal

#endif  // TFSAL_CC_PYTHON_ARRAYS_H_
