// What the machine is, and its two limits: multiply-adds on values that never leave the registers,
// as many independent ones as there is room for, and b = 1.5 a on arrays that no cache holds.
#include "tensor/cpu/cpu_backend.h"

#include "tensor/cpu/kit/parallel.h"
#include "tensor/cpu/kit/simd.h"
#include "tensor/profile.h"
#include "tensor/threads.h"

namespace nextgrad::cpu {

namespace {

constexpr int kChains = kVectorRegisters - 4;
constexpr std::int64_t kSteps = 1'000'000;  // 5 to 10 ms
constexpr int kRuns = 8;                    // the fastest counts

// kSteps multiply-adds in each of kChains vectors; the sum is returned so that none is left out.
float multiply_add_chains(float first, float factor) {
  Vec<float> chain[kChains];
  for (int i = 0; i < kChains; ++i) chain[i] = splat(first * static_cast<float>(i));
  const Vec<float> a = splat(factor), b = splat(first);
  for (std::int64_t step = 0; step < kSteps; ++step) {
#pragma GCC unroll 28
    for (int i = 0; i < kChains; ++i) chain[i] = chain[i] * a + b;
  }
  float sum = 0;
  for (int i = 0; i < kChains; ++i)
    for (int lane = 0; lane < kLanes<float>; ++lane) sum += chain[i][lane];
  return sum;
}

}  // namespace

Roofline CpuPrimitives::roofline() {
  const std::int64_t threads = num_threads(), n = std::int64_t{16} << 20;
  Tensor results = Tensor::zeros({threads}, DType::f32);
  float* result = results.data<float>();
  const double arithmetic = fastest(kRuns, [&] {
    parallel_each(threads, 1,
                  [&](std::int64_t t) { result[t] = multiply_add_chains(1e-3f, 0.999f); });
  });
  const Tensor a = Tensor::full({n}, 1.0);
  const double traffic = fastest(kRuns, [&] { unary(Unary::mul_scalar, a, 1.5); });
  const double flops = 2.0 * kChains * kLanes<float> * kSteps * threads;
  return {flops / arithmetic, 8.0 * n / traffic, flops / arithmetic, flops / arithmetic};
}

std::string CpuPrimitives::description() const {
#if defined(__AVX512F__)
  const char* isa = "AVX-512";
#elif defined(__AVX2__)
  const char* isa = "AVX2";
#elif defined(__aarch64__)
  const char* isa = "64-bit Arm";
#else
  const char* isa = "baseline";
#endif
  return fmt::format("CPU, {}, {} threads", isa, num_threads());
}

}  // namespace nextgrad::cpu

extern "C" nextgrad::Backend* NEXTGRAD_KERNELS(bool fused_ops) {
  if (fused_ops) return new nextgrad::cpu::CpuBackend;
  return new nextgrad::cpu::CpuPrimitives;
}
