// The emulation of CUDA: that kernels run as they would, and that it sees the mistakes it claims
// to.
#include <doctest/doctest.h>

#include <vector>

#include "cuda/kit/kernel.h"
#include "cuda/kit/launch.h"

using namespace nextgrad;
using namespace nextgrad::cuda;

namespace {

void reverse_block(const int* from, int* to) {
  int* tile = shared_memory<int>();
  tile[threadIdx.x] = from[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  to[blockIdx.x * blockDim.x + threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}

void forgets_the_barrier(const int* from, int* to) {
  int* tile = shared_memory<int>();
  tile[threadIdx.x] = from[threadIdx.x];
  to[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}

void some_leave(int* out) {
  if (threadIdx.x == 3) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}

void half_a_warp_shuffles(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_xor_sync(kAllLanes, 1, 1);
}

void sums(const float* x, float* of_warp, float* of_block, int* votes) {
  __shared__ float scratch[32];
  const float v = x[threadIdx.x];
  const float warp = warp_reduce(v), block = block_reduce(v, scratch);
  const float most = block_reduce(v, scratch, Max{});
  of_warp[threadIdx.x] = warp;
  of_block[threadIdx.x] = block + most;
  votes[threadIdx.x] = static_cast<int>(__ballot_sync(kAllLanes, threadIdx.x % 3 == 0)) +
                       __syncthreads_count(threadIdx.x == 5) + __syncthreads_or(threadIdx.x == 6);
}

void counts(int* counter, dim3 extent) {
  if (blockIdx.x < extent.x && blockIdx.y < extent.y && blockIdx.z < extent.z)
    atomicAdd(counter, 1 + static_cast<int>(threadIdx.y) + static_cast<int>(threadIdx.z));
}

void reads_shared(float* out) {
  out[threadIdx.x] = shared_memory<float>()[threadIdx.x];
}

void reads_packs(const float* from, float* to) {
  float v[4];
  load<4>(from, v);
  store<4>(to, v);
}

std::vector<int> counting(int n) {
  std::vector<int> v(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) v[static_cast<std::size_t>(i)] = i;
  return v;
}

}  // namespace

TEST_CASE("emulation: barriers and shared memory") {
  const std::vector<int> from = counting(300);
  std::vector<int> to(300);
  launch("reverse", reverse_block, {dim3(3), dim3(100), 400}, nullptr, from.data(), to.data());
  for (int i = 0; i < 300; ++i)
    CHECK(to[static_cast<std::size_t>(i)] == i / 100 * 100 + 99 - i % 100);
}

TEST_CASE("emulation: a missing barrier shows, whichever way the threads go") {
  const std::vector<int> from = counting(64);
  for (int launches = 0; launches < 2; ++launches) {
    std::vector<int> to(64);
    launch("forgets", forgets_the_barrier, {dim3(1), dim3(64), 256}, nullptr, from.data(),
           to.data());
    CHECK(to != std::vector<int>(from.rbegin(), from.rend()));
  }
}

TEST_CASE("emulation: barriers and warp operations that not all reach") {
  std::vector<int> out(64);
  CHECK_THROWS_WITH_AS(launch("leave", some_leave, {dim3(1), dim3(64)}, nullptr, out.data()),
                       doctest::Contains("never reach"), Error);
  CHECK_THROWS_WITH_AS(
      launch("half", half_a_warp_shuffles, {dim3(1), dim3(32)}, nullptr, out.data()),
      doctest::Contains("never reach"), Error);
  CHECK_THROWS_AS(launch("large", some_leave, {dim3(1), dim3(2048)}, nullptr, out.data()), Error);
  CHECK_THROWS_AS(launch("none", some_leave, {dim3(0), dim3(32)}, nullptr, out.data()), Error);
  CHECK_THROWS_AS(launch("shared", some_leave, {dim3(1), dim3(32), 200 << 10}, nullptr, out.data()),
                  Error);
}

TEST_CASE("emulation: sums of warps and blocks, votes") {
  for (const int n : {32, 96, 1024}) {
    std::vector<float> x, warp(static_cast<std::size_t>(n)), block(warp);
    std::vector<int> votes(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) x.push_back(static_cast<float>(i % 17));
    launch("sums", sums, {dim3(1), dim3(static_cast<unsigned>(n))}, nullptr, x.data(), warp.data(),
           block.data(), votes.data());
    float all = 0;
    for (const float v : x) all += v;
    for (int i = 0; i < n; ++i) {
      const auto at = static_cast<std::size_t>(i);
      float mine = 0;
      int ballot = 0;
      for (int l = i / 32 * 32; l < i / 32 * 32 + 32; ++l) {
        mine += x[static_cast<std::size_t>(l)];
        if (l % 3 == 0) ballot |= static_cast<int>(1u << (l % 32));
      }
      CHECK(warp[at] == mine);
      CHECK(block[at] == all + 16);
      CHECK(votes[at] == ballot + 1 + 1);
    }
  }
}

TEST_CASE("emulation: grids of three dimensions, atomics") {
  int counter = 0;
  launch("counts", counts, {dim3(3, 4, 5), dim3(2, 3, 4)}, nullptr, &counter, dim3(2, 4, 4));
  CHECK(counter == 2 * 4 * 4 * (24 + 2 * 4 * 3 + 2 * 3 * 6));
}

TEST_CASE("emulation: memory that nothing wrote is NaN") {
  std::vector<float> out(32);
  launch("reads", reads_shared, {dim3(1), dim3(32), 128}, nullptr, out.data());
  for (const float v : out) CHECK(std::isnan(v));
}

TEST_CASE("emulation: packs at addresses that are no multiple of their size") {
  alignas(16) float from[8] = {}, to[8];
  launch("packs", reads_packs, {dim3(1), dim3(1)}, nullptr, from, to);
  for (const auto& [x, y] : {std::pair(from + 1, to + 0), std::pair(from + 0, to + 2)})
    CHECK_THROWS_WITH_AS(launch("packs", reads_packs, {dim3(1), dim3(1)}, nullptr, x, y),
                         doctest::Contains("no multiple"), Error);
}

TEST_CASE("emulation: a captured stream does its work when the graph is launched") {
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  int counter = 0;
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  launch("counts", counts, {dim3(1), dim3(1)}, stream, &counter, dim3(1, 1, 1));
  CHECK(cudaStreamSynchronize(stream) != cudaSuccess);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
  CHECK(counter == 0);
  for (int i = 0; i < 3; ++i) REQUIRE(cudaGraphLaunch(exec, stream) == cudaSuccess);
  CHECK(counter == 3);
  cudaGraphDestroy(graph);
  cudaGraphExecDestroy(exec);
  cudaStreamDestroy(stream);
}

TEST_CASE("emulation: a capture holds what it forks, and wants it joined") {
  cudaStream_t stream = nullptr, other = nullptr;
  cudaEvent_t fork = nullptr, join = nullptr;
  for (cudaStream_t* s : {&stream, &other}) cudaStreamCreateWithFlags(s, cudaStreamNonBlocking);
  for (cudaEvent_t* e : {&fork, &join}) cudaEventCreateWithFlags(e, cudaEventDisableTiming);
  int counter = 0;
  const auto capture = [&](bool joins, cudaGraph_t* graph) {
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed);
    cudaEventRecord(fork, stream);
    cudaStreamWaitEvent(other, fork, 0);
    launch("counts", counts, {dim3(1), dim3(1)}, other, &counter, dim3(1, 1, 1));
    cudaEventRecord(join, other);
    if (joins) cudaStreamWaitEvent(stream, join, 0);
    return cudaStreamEndCapture(stream, graph);
  };
  cudaGraph_t graph = nullptr;
  CHECK(capture(false, &graph) == cudaErrorStreamCaptureUnjoined);
  REQUIRE(capture(true, &graph) == cudaSuccess);
  CHECK(counter == 0);
  CHECK(cudaStreamWaitEvent(stream, join, 0) != cudaSuccess);  // of a capture that has ended
  cudaGraphExec_t exec = nullptr;
  cudaGraphInstantiate(&exec, graph, 0);
  for (int i = 0; i < 3; ++i) cudaGraphLaunch(exec, stream);
  CHECK(counter == 3);
  launch("counts", counts, {dim3(1), dim3(1)}, other, &counter, dim3(1, 1, 1));
  CHECK(counter == 4);
  cudaGraphDestroy(graph);
  cudaGraphExecDestroy(exec);
  for (cudaEvent_t e : {fork, join}) cudaEventDestroy(e);
  for (cudaStream_t s : {stream, other}) cudaStreamDestroy(s);
}
