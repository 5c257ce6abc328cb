// The device itself: memory, transfers, waiting, what it can do at most.
#include <array>

#include "cuda/device/cuda_backend.h"
#include "cuda/device/gemm.h"
#include "cuda/device/operands.h"
#include "cuda/device/transfer.h"
#include "cuda/kit/sums.h"

namespace nextgrad::cuda {
namespace {

class DeviceMemory final : public MemorySource {
 public:
  explicit DeviceMemory(std::size_t total) : total_(total) {}
  void* take(std::size_t bytes) override {
    void* segment = nullptr;
    if (cudaMalloc(&segment, bytes) == cudaSuccess) {
      closed(segment, bytes);
      return segment;
    }
    cudaGetLastError();  // or the next launch would report it
    return nullptr;
  }
  void give(void* segment) override { cudaFree(segment); }
  std::size_t total() override { return total_; }
#ifdef NEXTGRAD_EMULATE_CUDA
  void opened(void* block, std::size_t bytes) override {
    emulation::unpoison(block, bytes);
  }
  void closed(void* block, std::size_t bytes) override {
    emulation::poison(block, bytes);
  }
#endif

 private:
  std::size_t total_;
};

template <class T>
T* device_struct(const T& value) {
  void* memory = nullptr;
  cuda_check(cudaMalloc(&memory, sizeof(T)), "first allocation");
  cuda_check(cudaMemcpyAsync(memory, &value, sizeof(T), cudaMemcpyHostToDevice, nullptr),
             "first copy");
  cuda_check(cudaStreamSynchronize(nullptr), "first copy");
  return static_cast<T*>(memory);
}

int device_count() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    cudaGetLastError();
    fail_input(
        "device cuda: {}; is there an NVIDIA GPU with a driver for CUDA 13? use --device cpu",
        cudaGetErrorString(status));
  }
  return count;
}

// `rounds` times 16 independent multiply-adds in registers.
__global__ void multiply_adds(float* out, int rounds) {
  float x[16];
  const auto start = static_cast<float>(threadIdx.x);
  for (int k = 0; k < 16; ++k) x[k] = start + static_cast<float>(k);
  for (int i = 0; i < rounds; ++i) {
#pragma unroll
    for (int k = 0; k < 16; ++k) x[k] = x[k] * 0.999f + 0.5f;
  }
  float sum = 0;
  for (const float v : x) sum += v;
  out[global_index()] = sum;
}

Backend* create(int index) {
  return new CudaBackend(index);
}

// Before main(): no file outside this folder names the backend.
[[maybe_unused]] const bool registered = (register_backend(Device::Kind::cuda, create), true);

}  // namespace

CudaBackend::CudaBackend(int index) : index_(index) {
  const int devices = device_count();
  if (index >= devices)
    fail_input("device cuda:{}: this machine has {} GPU{}, counted from 0", index, devices,
               devices == 1 ? "" : "s");
  // Of 12.1: kernels' arguments of more than 4 KiB.
  constexpr int kOldestDriver = 12010;
  int driver = 0;
  cuda_check(cudaDriverGetVersion(&driver), "asking for the driver's version");
  if (driver < kOldestDriver)
    fail_input(
        "device cuda:{}: the GPU's driver knows CUDA {}.{}, 12.1 is needed; update the "
        "driver, or use --device cpu",
        index, driver / 1000, driver % 1000 / 10);
  use_device(index);
  cuda_check(cudaGetDeviceProperties(&properties_, index), "asking for the device's properties");
  if (properties_.major < 8)
    fail_input(
        "device cuda:{}: {} has compute capability {}.{}; 8.0 (Ampere) is needed; use "
        "--device cpu",
        index, properties_.name, properties_.major, properties_.minor);
  cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
  allocator_ = std::make_unique<CachingAllocator>(
      std::make_unique<DeviceMemory>(properties_.totalGlobalMem));
  gemm_ = std::make_unique<Gemm>(stream_);
  operands_ = std::make_unique<Operands>(stream_);
  transfers_ = std::make_shared<TransferBuffers>(index, stream_);
  fault_ = device_struct(Fault{});
  progress_ = device_struct(Progress{0, 1});
  arrivals_ = reinterpret_cast<unsigned*>(device_struct(std::array<unsigned, kArrivals>{}));
  void* pinned = nullptr;
  cuda_check(cudaMallocHost(&pinned, sizeof(Fault)), "allocating pinned memory");
  fault_seen_ = new (pinned) Fault{};
}

CudaBackend::~CudaBackend() {
  const auto last = std::move(operands_);  // whose tensors are released
}

void* CudaBackend::allocate(std::size_t bytes) {
  use_device(index_);
  return allocator_->allocate(bytes);
}

void CudaBackend::release(void* block, std::size_t) {
  if (operands_ != nullptr) operands_->forget(block);
  allocator_->release(block);
}

void CudaBackend::empty_cache() {
  synchronize();
  allocator_->empty_cache();
}

void CudaBackend::upload(void* destination, const void* host, std::size_t bytes) {
  check(!capturing_, "a captured step must not read the host's memory");
  cuda_check(cudaMemcpyAsync(destination, host, bytes, cudaMemcpyHostToDevice, stream_),
             "copying to the GPU");
  // The host may reuse its memory as soon as this returns.
  cuda_check(cudaStreamSynchronize(stream_), "copying to the GPU");
}

void CudaBackend::download(void* host, const void* source, std::size_t bytes) {
  check(!capturing_, "a captured step must not wait for the GPU");
  cuda_check(cudaMemcpyAsync(host, source, bytes, cudaMemcpyDeviceToHost, stream_),
             "copying from the GPU");
  check_faults();
}

void CudaBackend::synchronize() {
  check(!capturing_, "a captured step must not wait for the GPU");
  check_faults();
}

// Waits for all work, and throws what a kernel found wrong with its input.
void CudaBackend::check_faults() {
  const std::scoped_lock lock(faults_mutex_);
  const bool collectives = collectives_.exchange(false);
  cuda_check(cudaMemcpyAsync(fault_seen_, fault_, sizeof(Fault), cudaMemcpyDeviceToHost, stream_),
             "copying from the GPU");
  cuda_check(cudaStreamSynchronize(stream_), "waiting for the GPU");
  if (collectives && after_collectives_) after_collectives_();
  const Fault fault = *fault_seen_;
  if (fault.code == Fault::none) return;
  use_device(index_);
  cuda_check(cudaMemsetAsync(fault_, 0, sizeof(Fault), stream_), "clearing a fault");
  cuda_check(cudaStreamSynchronize(stream_), "clearing a fault");
  if (fault.code == Fault::label)
    fail(
        "cross_entropy: label {} is neither in [0, {}) nor the ignored one; check the number of "
        "classes",
        fault.value, fault.limit);
  fail("gather: index {} is outside [0, {})", fault.value, fault.limit);
}

std::string CudaBackend::description() const {
  return fmt::format("{}, compute capability {}.{}, {} multiprocessors, {} GiB", properties_.name,
                     properties_.major, properties_.minor, properties_.multiProcessorCount,
                     properties_.totalGlobalMem >> 30);
}

Roofline CudaBackend::roofline() {
#ifdef NEXTGRAD_EMULATE_CUDA
  constexpr std::int64_t kFloats = 1 << 16;
  constexpr int kRounds = 4;
  constexpr std::int64_t kSide = 64;
#else
  constexpr std::int64_t kFloats = std::int64_t{1} << 28;  // 1 GiB, far more than any L2 cache
  constexpr int kRounds = 1 << 14;
  constexpr std::int64_t kSide = 1 << 13;
#endif
  const Tensor a = Tensor::full({kFloats}, 1, DType::f32, device());
  Tensor b = empty({kFloats}, DType::f32);
  const int blocks = 8 * properties_.multiProcessorCount;
  const double copy = fastest(5, [&] {
    unary_into(Unary::mul_scalar, a, 1.5, b);
    synchronize();
  });
  const double compute = fastest(5, [&] {
    launch("multiply_adds", multiply_adds, {dim3(static_cast<unsigned>(blocks)), dim3(kThreads)},
           stream_, b.data<float>(), kRounds);
    synchronize();
  });
  // Of random numbers, as a GPU that multiplies zeros needs less power and so clocks higher.
  const auto products = [&](DType dtype) {
    const Tensor x = random_normal({kSide, kSide}, DType::f32, {1, 0, 0, 0}).to(dtype);
    Tensor y = empty({kSide, kSide}, dtype);
    const Product p{.m = kSide,
                    .n = kSide,
                    .k = kSide,
                    .a = x.raw(),
                    .b = x.raw(),
                    .c = y.raw(),
                    .in = dtype,
                    .out = dtype};
    return 2.0 * kSide * kSide * kSide / fastest(5, [&] {
             gemm_->run(p);
             synchronize();
           });
  };
  const double flops = 32.0 * kRounds * blocks * kThreads / compute;
  return {flops, 8.0 * kFloats / copy, products(DType::bf16),
          gemm_->tf32 ? products(DType::f32) : flops};
}

}  // namespace nextgrad::cuda
