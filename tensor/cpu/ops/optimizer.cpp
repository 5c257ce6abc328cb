// Optimisers: one pass over the parameter and its state, split over threads, the step's constants
// in registers (tensor/update_rules.h).
#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/extents.h"
#include "tensor/update_rules.h"

namespace nextgrad::cpu {
namespace {

constexpr std::int64_t kGrain = 16384;

template <class Step, class T>
void update_run(const Step step, const T* g, T* p, T* m, T* v, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) step.update(g[i], p[i], m[i], v[i]);
}

// Steps over all slots, or counts that the step is refused.
template <template <class> class Step, class Options>
void step_all(const char* name, std::vector<OptimizerSlot>& slots, const Options& options,
              const GradientNorm& norm) {
  const double factor = norm.norm.defined() ? gradient_factor(norm.norm.item(), norm.largest) : 1;
  for (OptimizerSlot& s : slots) {
    auto* refused = data_or_null<std::int64_t>(s.refused);
    if (factor != factor) {
      if (refused == nullptr) continue;
      ++*refused;
      s.refused.bump_version();
      continue;
    }
    dispatch_float(s.p.dtype(), name, [&]<class T>(T) {
      const T* g = s.grad.data<T>();
      T *p = s.p.data<T>(), *m = s.m.data<T>(), *v = s.v.defined() ? s.v.data<T>() : m;
      Step<T> step;
      step.set(options, s.lr, s.weight_decay, s.step - (refused ? *refused : 0), factor);
      parallel_for(s.p.numel(), kGrain, [=](std::int64_t begin, std::int64_t end) {
        update_run(step, g + begin, p + begin, m + begin, v + begin, end - begin);
      });
    });
    for (Tensor* t : {&s.p, &s.m, &s.v})
      if (t->defined()) t->bump_version();
  }
}

}  // namespace

void CpuPrimitives::adamw(std::vector<OptimizerSlot>& slots, const AdamWOptions& o,
                          const GradientNorm& norm) {
  OpScope scope(costs::optimizer(costs::adamw, slots));
  step_all<AdamWStep>("adamw", slots, o, norm);
}

void CpuPrimitives::sgd(std::vector<OptimizerSlot>& slots, const SGDOptions& o,
                        const GradientNorm& norm) {
  OpScope scope(costs::optimizer(costs::sgd, slots));
  step_all<SGDStep>("sgd", slots, o, norm);
}

}  // namespace nextgrad::cpu
