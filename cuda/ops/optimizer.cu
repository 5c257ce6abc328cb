// Optimisers: one launch steps over many parameters. A table of them comes as the kernel's
// argument; a block finds its parameter by the number of its first block, and computes the step's
// constants once. Bound: memory.
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/kernel.h"
#include "tensor/costs.h"
#include "tensor/extents.h"
#include "tensor/update_rules.h"

namespace nextgrad::cuda {
namespace {

// A parameter of a launch.
struct Slot {
  void* p;
  const void* grad;
  void *m, *v;  // v: null where the step has none
  std::int64_t n;
  double lr, weight_decay;
  std::int64_t step;
  std::int64_t* refused;  // or null
};
using SlotTable = BlockTable<Slot, 256>;  // 19 KiB; an argument may have 32
constexpr int kStepThreads = 128;
constexpr int kPerBlock = 32 * kStepThreads;  // elements of a block

// Of N neighbouring numbers; v is null where the step has none.
template <int N, class Step, class T>
__device__ __forceinline__ void update(const Step& step, const T* grad, T* p, T* m, T* v) {
  T of_g[N], of_p[N], of_m[N], of_v[N] = {};
  load<N>(grad, of_g);
  load<N>(p, of_p);
  load<N>(m, of_m);
  if (v != nullptr) load<N>(v, of_v);
  unroll<N>([&](int i) { step.update(of_g[i], of_p[i], of_m[i], of_v[i]); });
  store<N>(p, of_p);
  store<N>(m, of_m);
  if (v != nullptr) store<N>(v, of_v);
}

// Step is AdamWStep<T> or SGDStep<T>; norm and largest: GradientNorm, null where there is none.
template <class T, class Step>
__global__ void step_slots(const SlotTable table, typename Step::Options options,
                           const double* norm, double largest, const Progress* progress) {
  const double factor = norm != nullptr ? gradient_factor(*norm, largest) : 1;
  const int block = static_cast<int>(blockIdx.x), number = table.owner_of(block);
  const Slot& slot = table.of[number];
  if (factor != factor) {
    if (slot.refused != nullptr && threadIdx.x == 0 && table.first_block[number] == block)
      ++*slot.refused;
    return;
  }
  __shared__ Step constants;  // double arithmetic is slow: one thread does it for all
  if (threadIdx.x == 0) {
    const std::int64_t count = slot.step + static_cast<std::int64_t>(progress->iterations) -
                               (slot.refused != nullptr ? *slot.refused : 0);
    constants.set(options, slot.lr * progress->lr_ratio, slot.weight_decay,
                  static_cast<double>(count), factor);
  }
  __syncthreads();
  const Step step = constants;
  const std::int64_t first = std::int64_t{block - table.first_block[number]} * kPerBlock;
  const std::int64_t left = slot.n - first;
  const int n = left < kPerBlock ? static_cast<int>(left) : kPerBlock;
  const T* grad = static_cast<const T*>(slot.grad) + first;
  T* p = static_cast<T*>(slot.p) + first;
  T* m = static_cast<T*>(slot.m) + first;
  T* v = slot.v != nullptr ? static_cast<T*>(slot.v) + first : nullptr;
  const auto address = reinterpret_cast<std::uintptr_t>(grad) |
                       reinterpret_cast<std::uintptr_t>(p) | reinterpret_cast<std::uintptr_t>(m) |
                       reinterpret_cast<std::uintptr_t>(v);
  int done = 0;
  if (address % 16 == 0) {
    constexpr int N = kPack<T>;
    done = n / N * N;
    for (int i = static_cast<int>(threadIdx.x) * N; i < done; i += kStepThreads * N)
      update<N>(step, grad + i, p + i, m + i, v != nullptr ? v + i : nullptr);
  }
  for (int i = done + static_cast<int>(threadIdx.x); i < n; i += kStepThreads)
    update<1>(step, grad + i, p + i, m + i, v != nullptr ? v + i : nullptr);
}

// Launches over all slots, those of one dtype and as many as a table takes at a time.
template <template <class> class Step, class Options>
void step_all(const char* name, std::vector<OptimizerSlot>& slots, const Options& options,
              const GradientNorm& norm, const Progress* progress, cudaStream_t stream) {
  for (std::size_t next = 0; next < slots.size();) {
    SlotTable t{};
    const DType dtype = slots[next].p.dtype();
    for (; next < slots.size() && slots[next].p.dtype() == dtype && !t.full(); ++next) {
      const OptimizerSlot& s = slots[next];
      if (s.p.numel() == 0) continue;
      t.add({s.p.raw(), s.grad.raw(), s.m.raw(), s.v.defined() ? s.v.raw() : nullptr, s.p.numel(),
             s.lr, s.weight_decay, s.step,
             s.refused.defined() ? s.refused.data<std::int64_t>() : nullptr},
            parts_of(s.p.numel(), kPerBlock));
    }
    if (t.blocks == 0) continue;
    dispatch_float(dtype, name, [&](auto zero) {
      using T = decltype(zero);
      launch(name, step_slots<T, Step<T>>, {dim3(t.blocks), dim3(kStepThreads)}, stream, t, options,
             norm.norm, norm.largest, progress);
    });
  }
  for (OptimizerSlot& s : slots) {
    for (Tensor* t : {&s.p, &s.m, &s.v, &s.refused})
      if (t->defined()) t->bump_version();
  }
}

}  // namespace

void CudaBackend::adamw(std::vector<OptimizerSlot>& slots, const AdamWOptions& o,
                        const GradientNorm& norm) {
  Scope scope(*this, costs::optimizer(costs::adamw, slots));
  step_all<AdamWStep>("adamw", slots, o, norm, progress_, stream_);
}

void CudaBackend::sgd(std::vector<OptimizerSlot>& slots, const SGDOptions& o,
                      const GradientNorm& norm) {
  Scope scope(*this, costs::optimizer(costs::sgd, slots));
  step_all<SGDStep>("sgd", slots, o, norm, progress_, stream_);
}

}  // namespace nextgrad::cuda
