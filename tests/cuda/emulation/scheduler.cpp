// Blocks, and their threads as fibres. A fibre runs one thread after another for as long as none
// waits; a thread that waits keeps its fibre until it may go on. Kernels without barriers thus cost
// no switch at all. Where races are looked for, each thread has a fibre of its own, as a stack that
// two used would look like one, and neighbouring blocks run on other threads of the CPU, which have
// their own static shared memory.
#include <atomic>
#include <cstdlib>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "tensor/error.h"
#include "tests/cuda/emulation/order.h"
#include "tests/cuda/emulation/runtime.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define NEXTGRAD_ASAN 1
#else
#define NEXTGRAD_ASAN 0
#endif
#ifndef __x86_64__
#include <ucontext.h>
#endif

constinit thread_local uint3 threadIdx, blockIdx;
constinit thread_local dim3 blockDim, gridDim;

namespace nextgrad::emulation {
namespace {

constexpr std::size_t kStackBytes = std::size_t{96} << 10;

#ifdef __x86_64__
// Saves what the System V calling convention wants kept, and goes on where `to` was left.
extern "C" void nextgrad_switch_stack(void** from, void* to);
asm(R"(
.text
.globl nextgrad_switch_stack
.type nextgrad_switch_stack,@function
nextgrad_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size nextgrad_switch_stack,.-nextgrad_switch_stack
)");
struct Context {
  void* stack_pointer = nullptr;
};
void switch_context(Context& from, Context& to) {
  nextgrad_switch_stack(&from.stack_pointer, to.stack_pointer);
}
void make_context(Context& c, void* stack, std::size_t bytes, void (*entry)()) {
  auto top = reinterpret_cast<std::uintptr_t>(stack) + bytes;
  top &= ~std::uintptr_t{15};
  auto* words = reinterpret_cast<std::uintptr_t*>(top);
  words[-2] = reinterpret_cast<std::uintptr_t>(entry);  // the return address of the first switch
  for (int i = 3; i <= 8; ++i) words[-i] = 0;
  c.stack_pointer = words - 8;
}
#else
struct Context {
  ucontext_t u;
};
void switch_context(Context& from, Context& to) {
  swapcontext(&from.u, &to.u);
}
void make_context(Context& c, void* stack, std::size_t bytes, void (*entry)()) {
  getcontext(&c.u);
  c.u.uc_stack.ss_sp = stack;
  c.u.uc_stack.ss_size = bytes;
  c.u.uc_link = nullptr;
  makecontext(&c.u, entry, 0);
}
#endif

struct Fibre {
  Context context;
  // Under AddressSanitizer between fences.
  std::byte* stack = kRaces ? mapped(kStackBytes) : new std::byte[kStackBytes];
  void* fake_stack = nullptr;  // AddressSanitizer's
  bool idle = true;

  Fibre() = default;
  ~Fibre() {
    if (!kRaces) delete[] stack;
  }
  Fibre(const Fibre&) = delete;
  Fibre& operator=(const Fibre&) = delete;
};

struct Warp {
  std::uint64_t values[2][32];  // two generations: a lane can't be two exchanges ahead
  unsigned arrived, members, done;
  std::uint64_t generation;
};
constexpr std::size_t kMostThreads = 1024, kMostShared = std::size_t{48} << 10;

// What a thread of the CPU keeps from launch to launch.
struct Worker {
  struct OfStream {
    BlockOrder order;
    std::byte* shared = kRaces ? mapped(kMostShared) : nullptr;
  };
  std::map<const void*, OfStream> streams;
  Warp* warps = reinterpret_cast<Warp*>(mapped(kMostThreads / 32 * sizeof(Warp)));
  std::vector<std::unique_ptr<Fibre>> fibres;
};
Worker& worker() {
  thread_local Worker w;
  return w;
}

struct Thread {
  Fibre* fibre = nullptr;
  enum class State { fresh, running, at_barrier, at_warp, done } state = State::fresh;
  std::uint64_t waits_for = 0;  // the generation that lets it go on
};

struct Launch {
  const char* name;
  const void* kernel;
  dim3 grid, block;
  std::size_t shared_bytes;
  void (*thread)(const void* data);
  const void* data;
  bool backwards;
  bool met = false;  // a barrier
  const void* stream = current_context();
  Point begin = {}, end = {};

  unsigned threads() const { return block.x * block.y * block.z; }
};

// The block that this thread of the CPU runs.
struct Block {
  Launch& launch;
  Worker& worker;
  BlockOrder& order;
  std::byte* shared;
  std::vector<Thread> threads = {};
  unsigned current = 0, alive = 0, arrived = 0;
  int votes[2] = {0, 0};  // by parity of the generation
  std::uint64_t generation = 0;
  bool backwards = false, misaligned = false;
  unsigned next_fresh = 0;  // how many threads were started
  Context main = {};
  void* main_fake_stack = nullptr;
  const void* main_stack = nullptr;
  std::size_t main_stack_bytes = 0;
  std::vector<std::unique_ptr<Fibre>> fibres = {};
  std::vector<Fibre*> idle = {};
};
thread_local Block* block_now = nullptr;

void place(unsigned t) {
  threadIdx.x = t % blockDim.x;
  threadIdx.y = t / blockDim.x % blockDim.y;
  threadIdx.z = t / (blockDim.x * blockDim.y);
  block_now->current = t;
}

unsigned fresh_thread(const Block& b, unsigned i) {
  return b.backwards ? static_cast<unsigned>(b.threads.size()) - 1 - i : i;
}

void to_main(Fibre& f) {
  Block& b = *block_now;
#if NEXTGRAD_ASAN
  __sanitizer_start_switch_fiber(&f.fake_stack, b.main_stack, b.main_stack_bytes);
#endif
  switch_context(f.context, b.main);
#if NEXTGRAD_ASAN
  __sanitizer_finish_switch_fiber(f.fake_stack, &block_now->main_stack,
                                  &block_now->main_stack_bytes);
#else
  (void)f;
#endif
}

thread_local Fibre* starting = nullptr;

// What a fibre does: threads not yet started, one after another; then it waits for more.
void fibre_main() {
  Fibre& self = *starting;
#if NEXTGRAD_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &block_now->main_stack, &block_now->main_stack_bytes);
#endif
  for (;;) {
    Block& b = *block_now;
    do {
      const unsigned t = fresh_thread(b, b.next_fresh++);
      b.threads[t].fibre = &self;
      b.threads[t].state = Thread::State::running;
      place(t);
      b.order.enter(t);
      b.order.first(b.launch.begin);
      b.launch.thread(b.launch.data);
      b.order.last(b.launch.end);
      b.order.leave();
      b.threads[t].state = Thread::State::done;
      --b.alive;
      Warp& w = b.worker.warps[t / 32];
      w.done |= 1u << (t % 32);
    } while (!kRaces && b.next_fresh < b.threads.size());
    self.idle = true;
    b.idle.push_back(&self);
    to_main(self);
  }
}

void resume(Fibre& f) {
  Block& b = *block_now;
  f.idle = false;
#if NEXTGRAD_ASAN
  __sanitizer_start_switch_fiber(&b.main_fake_stack, f.stack, kStackBytes);
#endif
  switch_context(b.main, f.context);
#if NEXTGRAD_ASAN
  __sanitizer_finish_switch_fiber(b.main_fake_stack, nullptr, nullptr);
#endif
}

// For the next fresh thread: any, or its own.
Fibre& free_fibre(Block& b) {
  const unsigned t = fresh_thread(b, b.next_fresh);
  while (kRaces ? b.fibres.size() <= t : b.idle.empty()) {
    b.fibres.push_back(std::make_unique<Fibre>());
    Fibre& f = *b.fibres.back();
    make_context(f.context, f.stack, kStackBytes, fibre_main);
    b.idle.push_back(&f);
  }
  if (kRaces) return *b.fibres[t];
  Fibre* f = b.idle.back();
  b.idle.pop_back();
  return *f;
}

bool may_go_on(const Block& b, unsigned t) {
  const Thread& thread = b.threads[t];
  if (thread.state == Thread::State::at_barrier) return b.generation >= thread.waits_for;
  if (thread.state == Thread::State::at_warp)
    return b.worker.warps[t / 32].generation >= thread.waits_for;
  return false;
}

// One round over all threads, forwards or backwards; false if none could go on.
bool sweep(Block& b) {
  bool moved = false;
  while (b.next_fresh < b.threads.size()) {
    Fibre& f = free_fibre(b);
    starting = &f;
    resume(f);
    moved = true;
  }
  const auto n = static_cast<unsigned>(b.threads.size());
  for (unsigned i = 0; i < n; ++i) {
    const unsigned t = b.backwards ? n - 1 - i : i;
    if (!may_go_on(b, t)) continue;
    b.threads[t].state = Thread::State::running;
    place(t);
    b.order.enter(t);
    resume(*b.threads[t].fibre);
    moved = true;
  }
  b.backwards = !b.backwards;
  return moved;
}

void wait(Thread::State why, std::uint64_t generation) {
  Block& b = *block_now;
  Thread& t = b.threads[b.current];
  t.state = why;
  t.waits_for = generation;
  b.order.leave();
  to_main(*t.fibre);
}

void run_block(Block& b, bool backwards) {
  const unsigned threads = b.launch.threads();
  b.threads.assign(threads, {});
  for (unsigned w = 0; w * 32 < threads; ++w) {
    Warp& warp = b.worker.warps[w];
    warp.arrived = warp.done = 0;
    warp.generation = 0;
    warp.members = threads - w * 32 >= 32 ? ~0u : (1u << (threads - w * 32)) - 1;
  }
  fill(b.shared, 0xff, b.launch.shared_bytes);  // NaN
  b.order.begin_block();
  b.alive = threads;
  b.arrived = b.next_fresh = 0;
  b.votes[0] = b.votes[1] = 0;
  b.backwards = backwards;
  while (b.alive > 0) {
    const bool moved = sweep(b);
    check(
        moved || b.alive == 0,
        "emulated kernel {}: {} threads of block ({}, {}, {}) wait at a barrier or warp operation "
        "that the others never reach",
        b.launch.name, b.alive, blockIdx.x, blockIdx.y, blockIdx.z);
  }
  if (b.generation > 0) b.launch.met = true;
  check(!b.misaligned, "emulated kernel {}: a pack's address is no multiple of its size",
        b.launch.name);
}

// Blocks first, first + kSets, ... on this thread of the CPU.
void run_blocks(Launch& l, std::uint64_t first) {
  Worker& w = worker();
  auto& [order, shared] = w.streams[l.stream];
  order.begin_launch(l.threads());
  const std::unique_ptr<std::byte[]> fenced(
      kRaces ? nullptr : static_cast<std::byte*>(::operator new[](l.shared_bytes + 1)));
  Block b{l, w, order, kRaces ? shared : fenced.get()};
  b.fibres = std::move(w.fibres);
  for (const auto& f : b.fibres) b.idle.push_back(f.get());
  blockDim = l.block;
  gridDim = l.grid;
  block_now = &b;
  struct Restore {
    Block& b;
    ~Restore() {
      block_now = nullptr;
      if (b.alive == 0) b.worker.fibres = std::move(b.fibres);  // else some are stuck in a thread
    }
  } restore{b};
  const std::uint64_t blocks = std::uint64_t{l.grid.x} * l.grid.y * l.grid.z;
  for (std::uint64_t i = first; i < blocks; i += kSets) {
    const std::uint64_t at = l.backwards ? blocks - 1 - i : i;
    blockIdx.x = static_cast<unsigned>(at % l.grid.x);
    blockIdx.y = static_cast<unsigned>(at / l.grid.x % l.grid.y);
    blockIdx.z = static_cast<unsigned>(at / l.grid.x / l.grid.y);
    run_block(b, ((i & 1) != 0) != l.backwards);
  }
}

// Another thread of the CPU, which works while the caller waits. Told by plain atomics, in which
// ThreadSanitizer sees no order.
class Helper {
 public:
  Helper() {
    std::thread([this] { serve(); }).detach();
  }
  void run(const std::function<void()>& work) {
    work_ = &work;
    tell(true);
    busy_.wait(true);
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  void serve() {
    for (;;) {
      busy_.wait(false);
      try {
        (*work_)();
      } catch (...) {
        error_ = std::current_exception();
      }
      tell(false);
    }
  }
  void tell(bool busy) {
    busy_ = busy;
    busy_.notify_all();
  }
  std::atomic<bool> busy_ = false;
  const std::function<void()>* work_ = nullptr;
  std::exception_ptr error_ = nullptr;
};

// One launch at a time, as there are kSets - 1 helpers for all threads of the host.
void run_in_sets(Launch& l) {
  static std::atomic_flag taken;
  static auto* helpers = new Helper[kSets - 1];  // whose threads wait until the process ends
  while (taken.test_and_set()) std::this_thread::yield();
  struct Give {
    ~Give() { taken.clear(); }
  } give;
  run_blocks(l, 0);
  const std::uint64_t blocks = std::uint64_t{l.grid.x} * l.grid.y * l.grid.z;
  for (std::uint64_t set = 1; set < std::min<std::uint64_t>(kSets, blocks); ++set)
    helpers[set - 1].run([&] { run_blocks(l, set); });
  if (l.met) met_barrier(l.kernel);
}

}  // namespace

void* shared() {
  return block_now->shared;
}

void note_access(const void* address, std::size_t bytes) {
  if (block_now != nullptr && reinterpret_cast<std::uintptr_t>(address) % bytes != 0)
    block_now->misaligned = true;
}

int lane() {
  return static_cast<int>(block_now->current % 32);
}

void fence() {
  static Point all;
  all.acquire();
  all.release();
}

void barrier(int vote, int* any, int* count) {
  Block& b = *block_now;
  const auto parity = b.generation & 1u;
  Point& order = b.order.barrier[parity];
  order.release();
  if (vote != 0) ++b.votes[parity];
  if (++b.arrived == b.threads.size()) {
    b.arrived = 0;
    b.votes[parity ^ 1u] = 0;
    ++b.generation;
  } else {
    wait(Thread::State::at_barrier, b.generation + 1);
  }
  order.acquire();
  if (any != nullptr) *any = block_now->votes[parity] != 0;
  if (count != nullptr) *count = block_now->votes[parity];
}

const std::uint64_t* exchange(unsigned mask, std::uint64_t value, unsigned* active, bool orders) {
  Block& b = *block_now;
  const unsigned index = b.current / 32, self = b.current % 32;
  Warp& w = b.worker.warps[index];
  const unsigned wanted = mask & w.members;
  Point& order = b.order.warp[index][w.generation & 1u];
  if (orders) order.release();
  std::uint64_t* slots = w.values[w.generation & 1u];
  slots[self] = value;
  w.arrived |= 1u << self;
  *active = wanted;
  if ((w.arrived & wanted) == wanted) {
    w.arrived = 0;
    ++w.generation;
  } else {
    wait(Thread::State::at_warp, w.generation + 1);
  }
  if (orders) order.acquire();
  return slots;
}

void run(const char* name, const void* kernel, dim3 grid, dim3 block, std::size_t shared_bytes,
         void (*thread)(const void* data), const void* data) {
  static thread_local bool backwards = false;
  // On the heap, as the order that a released point stands for goes with its memory.
  const auto l = std::make_unique<Launch>(
      Launch{name, kernel, grid, block, shared_bytes, thread, data, backwards});
  check(l->threads() >= 1 && l->threads() <= kMostThreads && grid.x >= 1 && grid.y >= 1 &&
            grid.z >= 1 && grid.y <= 65535 && grid.z <= 65535 && block.z <= 64,
        "emulated kernel {}: grid ({}, {}, {}) of blocks ({}, {}, {}) can't be launched", name,
        grid.x, grid.y, grid.z, block.x, block.y, block.z);
  check(shared_bytes <= kMostShared,
        "emulated kernel {}: {} bytes of shared memory; more than 48 KiB must be asked for", name,
        shared_bytes);
  l->begin.release();
  if constexpr (kRaces)
    run_in_sets(*l);
  else
    run_blocks(*l, 0);
  l->end.acquire();
  backwards = !backwards;
}

void poison(void* block, std::size_t bytes) {
#if NEXTGRAD_ASAN
  __asan_poison_memory_region(block, bytes);
#else
  (void)block;
  (void)bytes;
#endif
}

void unpoison(void* block, std::size_t bytes) {
#if NEXTGRAD_ASAN
  __asan_unpoison_memory_region(block, bytes);
#endif
  fill(block, 0xff, bytes);
}

}  // namespace nextgrad::emulation
