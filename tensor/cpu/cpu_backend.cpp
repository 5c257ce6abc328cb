#include "tensor/cpu/cpu_backend.h"

#include <cstring>

#include "tensor/threads.h"

namespace nextgrad::cpu {

Device CpuBackend::device() const {
  return {};
}

void* CpuBackend::allocate(std::size_t bytes) {
  return allocator_.allocate(bytes);
}
void CpuBackend::release(void* block, std::size_t bytes) {
  allocator_.release(block, bytes);
}
MemoryStats CpuBackend::memory() const {
  return allocator_.stats();
}
void CpuBackend::reset_peak() {
  allocator_.reset_peak();
}
void CpuBackend::empty_cache() {
  allocator_.empty_cache();
}

void CpuBackend::upload(void* destination, const void* host, std::size_t bytes) {
  std::memcpy(destination, host, bytes);
}

void CpuBackend::download(void* host, const void* source, std::size_t bytes) {
  std::memcpy(host, source, bytes);
}

std::string CpuBackend::description() const {
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
