#include "tensor/threads.h"

#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "tensor/error.h"

namespace nextgrad {
namespace {

std::atomic<int> thread_count{0};

int all_threads() {
  static const int all = omp_get_max_threads();
  return all;
}

}  // namespace

void set_num_threads(int threads, int processes) {
  check(threads >= 0 && threads <= 1024, "number of threads must lie in 0 to 1024, got {}",
        threads);
  if (threads == 0 && processes > 1) threads = std::max(1, all_threads() / processes);
  thread_count = threads;
}

int num_threads() {
  const int wanted = thread_count.load(std::memory_order_relaxed);
  return wanted > 0 ? wanted : all_threads();
}

void let_idle_threads_sleep(char** argv) {
  if (getenv("OMP_WAIT_POLICY") != nullptr || getenv("GOMP_SPINCOUNT") != nullptr) return;
  if (setenv("GOMP_SPINCOUNT", "20000", 1) == 0) execv("/proc/self/exe", argv);
}

}  // namespace nextgrad
