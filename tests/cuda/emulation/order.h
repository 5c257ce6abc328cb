// What CUDA promises about order, told to ThreadSanitizer, so that it reports what relies on more:
// a build with NEXTGRAD_EMULATE_RACES. Elsewhere all this is empty.
//
//   host       --submit-->  stream  --launch-->  threads of its blocks  --end-->  stream
//   __threadfence  -->  __threadfence that comes later
//   __syncthreads among a block's threads, __syncwarp among a warp's (not shuffles, not ballots)
//   stream  --event recorded-->  stream or host that waits for it
//   stream  --synchronised-->  host
//
// and nothing else: not between the blocks of a launch, not between streams, not from a copy back
// to the host. Each of them is a context of its own to ThreadSanitizer. Only the kernels (cuda/)
// are compiled for it; the emulation, which does all this one thing after another on a few threads
// of the CPU, must not be seen, nor its own memory: hence mapped() and fill(). Copies and
// cuBLASLt's products say what they touch.
//
// What it does not see: what the threads of one context do to each other (a context is a warp, or
// with NEXTGRAD_RACES=threads a thread: slower), blocks that are kSets apart. What it would see
// although it is none: static shared memory of kernels that two streams run at once.
#pragma once

#include <atomic>
#include <cstddef>
#include <vector>

namespace nextgrad::emulation {

#ifdef NEXTGRAD_EMULATE_RACES
inline constexpr bool kRaces = true;
#else
inline constexpr bool kRaces = false;
#endif
// Neighbouring blocks must not share contexts, nor static shared memory.
inline constexpr int kSets = kRaces ? 3 : 1;

// A point of synchronisation: whoever acquires it comes after all who released it before.
class Point {
 public:
  void release();
  void acquire();

 private:
  [[maybe_unused]] char at_ = 0;
};

// One that does things in order: a stream.
class Timeline {
 public:
  Timeline();
  ~Timeline();
  Timeline(const Timeline&) = delete;
  Timeline& operator=(const Timeline&) = delete;
  // Calls fn() after what was done here.
  template <class Fn>
  void go_on(Fn&& fn) {
    const Inside inside(*this);
    fn();
    done_.release();
    all_done().release();
  }
  // And after what the caller has done.
  template <class Fn>
  void run(Fn&& fn) {
    submitted_.release();
    go_on([&] {
      submitted_.acquire();
      fn();
    });
  }
  void wait() { done_.acquire(); }
  static Point& all_done();  // of all timelines

 private:
  class Inside {
   public:
    explicit Inside(Timeline& t);
    ~Inside();
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

   private:
    Timeline& timeline_;
    void* before_;
  };
  void* context_;
  std::atomic_flag taken_;  // by one thread of the host at a time
  Point submitted_, done_;
};

// The context that runs now: a stream, or a thread of the host.
void* current_context();

// The contexts of a block's threads on this thread of the CPU, and what orders them.
class BlockOrder {
 public:
  BlockOrder() = default;
  ~BlockOrder();
  BlockOrder(const BlockOrder&) = delete;
  BlockOrder& operator=(const BlockOrder&) = delete;
  void begin_launch(unsigned threads);  // of a block
  void begin_block() { ++blocks_; }
  void enter(unsigned thread);    // it goes on
  void leave();                   // it waits, or has ended
  void first(Point& launched);    // as a thread, when it begins
  void last(Point& ended);        // when it ends
  Point barrier[2], warp[32][2];  // by parity of the generation

 private:
  void* main_ = nullptr;
  std::vector<void*> contexts_;
  // Blocks that run here one after another share contexts, and so are ordered; by parity, as a
  // single point would order the threads of a block that begin after others of it have ended.
  Point ends_[2];
  unsigned blocks_ = 0;
};

// A kernel has met a barrier: into the file that NEXTGRAD_BARRIERS names, for
// tests/cuda/barriers.py.
void met_barrier(const void* kernel);

// Memory that ThreadSanitizer does not know: zeros, mapped, never given back.
std::byte* mapped(std::size_t bytes);
// memset and memmove that it does not see, and what it is told instead.
void fill(void* to, unsigned char value, std::size_t bytes);
void copy(void* to, const void* from, std::size_t bytes);
void reads(const void* from, std::size_t bytes);
void writes(void* to, std::size_t bytes);

}  // namespace nextgrad::emulation
