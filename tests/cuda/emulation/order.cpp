#include "tests/cuda/emulation/order.h"

#include <sanitizer/common_interface_defs.h>
#include <sanitizer/tsan_interface.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <string_view>
#include <thread>

#include "tensor/error.h"

extern "C" void __tsan_read_range(void* at, unsigned long bytes);
extern "C" void __tsan_write_range(void* at, unsigned long bytes);

namespace nextgrad::emulation {

namespace {

void* new_context(const char* name) {
  void* context = nullptr;
  if constexpr (kRaces) {
    context = __tsan_create_fiber(0);
    __tsan_set_fiber_name(context, name);
  }
  return context;
}

void switch_to(void* context) {
  if constexpr (kRaces) __tsan_switch_to_fiber(context, __tsan_switch_to_fiber_no_sync);
}

unsigned threads_of_context() {
  static const unsigned n = [] {
    const char* wanted = std::getenv("NEXTGRAD_RACES");
    return wanted != nullptr && std::string_view(wanted) == "threads" ? 1u : 32u;
  }();
  return n;
}

}  // namespace

void* current_context() {
  if constexpr (kRaces) return __tsan_get_current_fiber();
  return nullptr;
}

void Point::release() {
  if constexpr (kRaces) __tsan_release(&at_);
}
void Point::acquire() {
  if constexpr (kRaces) __tsan_acquire(&at_);
}

Point& Timeline::all_done() {
  static Point p;
  return p;
}
Timeline::Timeline() : context_(new_context("stream")) {}
Timeline::~Timeline() {
  if constexpr (kRaces) __tsan_destroy_fiber(context_);
}
Timeline::Inside::Inside(Timeline& t) : timeline_(t), before_(current_context()) {
  if constexpr (kRaces)
    while (t.taken_.test_and_set()) std::this_thread::yield();
  switch_to(t.context_);
}
Timeline::Inside::~Inside() {
  switch_to(before_);
  if constexpr (kRaces) timeline_.taken_.clear();
}

BlockOrder::~BlockOrder() {
  if constexpr (kRaces)
    for (void* c : contexts_) __tsan_destroy_fiber(c);
}
void BlockOrder::begin_launch(unsigned threads) {
  if constexpr (!kRaces) return;
  main_ = current_context();
  while (contexts_.size() * threads_of_context() < threads)
    contexts_.push_back(new_context("threads of a kernel"));
}
void BlockOrder::enter(unsigned thread) {
  if constexpr (kRaces) switch_to(contexts_[thread / threads_of_context()]);
}
void BlockOrder::leave() {
  switch_to(main_);
}
void BlockOrder::first(Point& launched) {
  launched.acquire();
  ends_[(blocks_ + 1) & 1].acquire();
}
void BlockOrder::last(Point& ended) {
  ended.release();
  ends_[blocks_ & 1].release();
}

namespace {

// Told at the end: ThreadSanitizer sees what a file's buffer is copied to.
struct Met {
  const char* file = kRaces ? std::getenv("NEXTGRAD_BARRIERS") : nullptr;
  std::set<const void*> kernels;
  ~Met() {
    if (file == nullptr) return;
    std::ofstream out(file);
    for (const void* kernel : kernels) {
      char name[1024] = "";
      // It wants a return address, and looks at the byte before it.
      void* after = static_cast<char*>(const_cast<void*>(kernel)) + 1;
      if constexpr (kRaces) __sanitizer_symbolize_pc(after, "%f", name, sizeof name);
      out << name << '\n';
    }
  }
};

}  // namespace

void met_barrier(const void* kernel) {
  static Met met;
  if (met.file != nullptr) met.kernels.insert(kernel);
}

std::byte* mapped(std::size_t bytes) {
  const long at =
      syscall(SYS_mmap, nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(at > 0, "emulation: no memory for {} bytes", bytes);
  return reinterpret_cast<std::byte*>(at);
}
void fill(void* to, unsigned char value, std::size_t bytes) {
  if constexpr (kRaces)
    asm volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
  else
    std::memset(to, value, bytes);
}
void copy(void* to, const void* from, std::size_t bytes) {
  if constexpr (kRaces)
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
  else
    std::memmove(to, from, bytes);
}
void reads(const void* from, std::size_t bytes) {
  if constexpr (kRaces) __tsan_read_range(const_cast<void*>(from), bytes);
}
void writes(void* to, std::size_t bytes) {
  if constexpr (kRaces) __tsan_write_range(to, bytes);
}

}  // namespace nextgrad::emulation
