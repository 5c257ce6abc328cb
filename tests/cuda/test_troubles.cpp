// What can go wrong on a device, provoked on the emulated one.
#include <doctest/doctest.h>

#include "cuda/device/cuda_backend.h"
#include "cuda/kit/kernel.h"
#include "cuda/kit/launch.h"
#include "tensor/ops.h"

using namespace nextgrad;
using namespace nextgrad::cuda;
using emulation::troubles;

namespace {

const Device kGpu{Device::Kind::cuda, 0};

void writes_one(float* to) {
  if (threadIdx.x == 0) *to = 1;
}

}  // namespace

TEST_CASE("troubles: a driver that is too old is told, with what to do") {
  troubles().driver = 11080;
  CHECK_THROWS_WITH_AS(CudaBackend(0), doctest::Contains("knows CUDA 11.8, 12.1 is needed"),
                       InputError);
  troubles().driver = 13000;
}

TEST_CASE("troubles: a product that cuBLASLt had promised is computed all the same") {
  const Tensor a = Tensor::full({1, 5, 7}, 2, DType::f32, kGpu);
  const Tensor b = Tensor::full({1, 7, 3}, 3, DType::f32, kGpu);
  const std::vector<double> want(15, 42);
  troubles().refused_products = 1;
  CHECK(matmul(a, b).to_vector<double>() == want);
  CHECK(troubles().refused_products == 0);
  troubles().refused_products = 1;
  CHECK(matmul(a, b).to_vector<double>() == want);
  CHECK(troubles().refused_products == 1);  // it was not asked again
  troubles().refused_products = 0;
}

TEST_CASE("troubles: a kernel's error goes by its name if launches wait") {
  cudaStream_t stream = nullptr;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  float to = 0;
  const auto run = [&] { launch("of the culprit", writes_one, {dim3(1), dim3(32)}, stream, &to); };
  troubles().of_kernels = cudaErrorInvalidValue;
  run();  // it goes on, and what waits next throws
  CHECK(cudaStreamSynchronize(stream) != cudaSuccess);
  troubles().of_kernels = cudaErrorInvalidValue;
  waits_for_kernels() = true;
  CHECK_THROWS_WITH_AS(run(), doctest::Contains("of the culprit"), Error);
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed);
  troubles().of_kernels = cudaErrorInvalidValue;
  run();  // no waiting inside a capture
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream, &graph);
  waits_for_kernels() = false;
  troubles().of_kernels = cudaSuccess;
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}
