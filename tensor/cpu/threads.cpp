#include "tensor/threads.h"

#include <omp.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

#include "tensor/error.h"

namespace nextgrad {
namespace {

std::atomic<int> thread_count{0};

}  // namespace

void set_num_threads(int threads) {
  check(threads >= 0 && threads <= 1024, "number of threads must lie in 0 to 1024, got {}",
        threads);
  thread_count = threads;
}

int num_threads() {
  const int wanted = thread_count.load(std::memory_order_relaxed);
  static const int all = omp_get_max_threads();
  return wanted > 0 ? wanted : all;
}

void let_idle_threads_sleep(char** argv) {
  if (getenv("OMP_WAIT_POLICY") != nullptr || getenv("GOMP_SPINCOUNT") != nullptr) return;
  if (setenv("GOMP_SPINCOUNT", "20000", 1) == 0) execv("/proc/self/exe", argv);
}

}  // namespace nextgrad
