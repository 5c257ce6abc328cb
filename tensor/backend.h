// Backend: every primitive a device must offer (primitives.h), one method each, and the ops made of
// them (fused.h). Adding an op is: one method here or there, its costs (costs.h), one CPU kernel
// (tensor/cpu/ops/), one CUDA kernel (cuda/ops/), one autograd function, one gradcheck line. Adding
// an elementwise op: elementwise.h.
//
// Rules for all methods, unless a comment says otherwise:
//  - inputs are contiguous, on this device, of one floating dtype T: f32 or f64, and bf16 where the
//    device computes in it (then parameters, statistics and sums are f32); callers in autograd/
//    have checked shapes and dtypes and said what was wrong, so methods do not repeat it;
//  - results are new contiguous tensors, which share no memory with an input; a tensor passed as
//    `Tensor&` is written in place, its version bumped, and no other argument may overlap it;
//  - an optional tensor is passed undefined;
//  - a sum over many elements has an order that does not depend on the number of threads;
//  - each method opens an OpScope (profile.h) with its costs (costs.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/elementwise.h"
#include "tensor/fused.h"
#include "tensor/optimizer_slot.h"
#include "tensor/random.h"
#include "tensor/tensor.h"

namespace nextgrad {

enum class Reduce { sum, mean };

enum class Resize { bilinear, bilinear_align_corners, nearest };
// Some rows of a bilinear resize from in_height to out_height rows: wanted are the output rows
// [out_top, out_top + out_rows); at hand are source rows from in_top on.
struct RowBand {
  std::int64_t in_height, in_top;
  std::int64_t out_height, out_top, out_rows;
};
// The source rows [first, last) that such a band reads (in_top does not matter).
std::pair<std::int64_t, std::int64_t> rows_read(const RowBand& band);

struct Roofline {
  double flops;  // f32 multiply-adds in registers, two FLOPs each, per second
  double bytes;  // b[i] = 1.5 a[i] on arrays that no cache holds: read plus written, per second
  // Large matrix products, as bf16 and as f32 are multiplied here (TF32, if it is allowed): FLOPs
  // per second. Equal to `flops` where nothing multiplies them faster than registers do.
  double bf16_product_flops, f32_product_flops;
};

// Work that a device keeps and does again as a whole, on the same addresses: a CUDA graph.
class Capture {
 public:
  virtual ~Capture() = default;
  // Submits the work; what it writes to in place gets new versions. Where it draws random numbers
  // or steps an optimiser, it does so for `iterations` after the one that was captured, with
  // learning rates times `lr_ratio`.
  virtual void replay(std::uint64_t iterations = 0, double lr_ratio = 1) = 0;
};

// A tensor on its way from the host to a device, beside what the device computes.
class Transfer {
 public:
  virtual ~Transfer() = default;
  // Puts it into `destination`, of its shape and dtype, before whatever is submitted afterwards.
  virtual void receive(Tensor& destination) = 0;
};

class Communicator;

class Backend : public Fused {
 public:
  virtual Device device() const = 0;

  // --- memory (storage.cpp calls these) ---
  virtual void* allocate(std::size_t bytes) = 0;  // caching; throws Error when out of memory
  virtual void release(void* block, std::size_t bytes) = 0;
  virtual MemoryStats memory() const = 0;
  virtual void reset_peak() = 0;
  virtual void empty_cache() = 0;
  virtual void upload(void* destination, const void* host, std::size_t bytes) = 0;
  virtual void download(void* host, const void* source, std::size_t bytes) = 0;
  virtual void synchronize() {}
  // Starts to copy a contiguous tensor of the host; any thread may call it. The tensor may be
  // changed as soon as this returns.
  virtual std::unique_ptr<Transfer> send(const Tensor& host);
  // Calls the work once, without doing what it submits, and returns what will do that; null on a
  // device that cannot (the CPU), which calls nothing. The work must not wait for the device, and
  // what it reads from outside must stay where it is. Its own tensors keep their memory for as long
  // as the capture lives: those it leaves hold the results of the latest replay.
  virtual std::unique_ptr<Capture> capture(const std::function<void()>&) { return nullptr; }
  // Collectives of this device's tensors, between the ranks of `hosts`, which must outlive it. All
  // ranks call it at once, each for a device of its own.
  virtual std::unique_ptr<Communicator> connect(Communicator& hosts);
  // Whether products of f32 may round their inputs to 10 bits (TF32, on tensor cores). No, at
  // first.
  virtual void allow_tf32(bool) {}
#define NEXTGRAD_OP = 0
#include "tensor/primitives.h"
#undef NEXTGRAD_OP

 protected:
  Backend& primitives() final {
    return *this;
  }
};

// The backend of a device; throws if this build or machine has none.
Backend& backend_of(Device device);
// Of the CPU's kernels in this build, the best that this processor can run: base, v3 or v4 of
// x86-64, or built where there is but one. NEXTGRAD_CPU_LEVEL=v3 or base in the environment: at
// most that one. Throws InputError for another value, or where there is no choice.
std::string_view cpu_level();
// What of three goes with that level.
template <class T>
T of_cpu_level(T base, T v3, T v4) {
  const std::string_view level = cpu_level();
  return level == "v4" ? v4 : level == "v3" ? v3 : base;
}
// A backend of another device registers its maker before main(); the CPU is always there, but
// another backend may take its place before its first use.
void register_backend(Device::Kind kind, Backend* (*create)(int index));

}  // namespace nextgrad
