// The race check itself: what it reports, and what it does not.
#include <doctest/doctest.h>

#include <string_view>
#include <vector>

#include "cuda/kit/kernel.h"
#include "cuda/kit/launch.h"

using namespace nextgrad;
using namespace nextgrad::cuda;

namespace {

int reports = 0;

bool by_threads() {
  const char* context = std::getenv("NEXTGRAD_RACES");
  return context != nullptr && std::string_view(context) == "threads";
}

// Of a launch; a kernel's race is reported once.
template <class... Parameters, class... Arguments>
int races(void (*kernel)(Parameters...), const Grid& grid, const Arguments&... arguments) {
  const int before = reports;
  launch("tested", kernel, grid, nullptr, arguments...);
  return reports - before;
}

// A sum in shared memory by halves.
template <bool has_barriers>
void halves(const float* x, float* y) {
  float* s = shared_memory<float>();
  s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  for (unsigned n = blockDim.x / 2; n > 0; n /= 2) {
    if (threadIdx.x < n) s[threadIdx.x] += s[threadIdx.x + n];
    if (has_barriers) __syncthreads();
  }
  if (threadIdx.x == 0) y[blockIdx.x] = s[0];
}

// Two rounds through one shared buffer; without the second barrier it is used again too early.
template <bool has_barrier>
void rounds(const float* x, float* y) {
  __shared__ float s[256];
  float sum = 0;
  for (int round = 0; round < 2; ++round) {
    s[threadIdx.x] = x[threadIdx.x] + static_cast<float>(round);
    __syncthreads();
    sum += s[(threadIdx.x + 33) % blockDim.x];
    if (has_barrier) __syncthreads();
  }
  y[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

enum class Order { warp_barrier, shuffle, none };
// Lanes that meet in shared memory.
template <Order order>
void lanes(float* y) {
  __shared__ float s[64];
  s[threadIdx.x] = static_cast<float>(threadIdx.x);
  if (order == Order::warp_barrier) __syncwarp();
  if (order == Order::shuffle) (void)__shfl_xor_sync(kAllLanes, 1.0f, 1);
  y[blockIdx.x * blockDim.x + threadIdx.x] = s[threadIdx.x ^ 1u];
}

// Blocks whose last element is the next one's first, or not.
template <bool apart>
void neighbours_write(float* y) {
  y[blockIdx.x * (blockDim.x - (apart ? 0 : 1)) + threadIdx.x] = 1;
}

void reads_its_neighbour(float* y) {
  y[blockIdx.x * blockDim.x + threadIdx.x] = 1;
  __syncthreads();
  if (blockIdx.x > 0 && threadIdx.x == 0)
    y[blockIdx.x * blockDim.x] += y[blockIdx.x * blockDim.x - 1];
}

void count(int* n, float* sum) {
  atomicAdd(n, 1);
  atomicAdd(sum, 0.5f);
}

void adds_one(float* x) {
  x[blockIdx.x * blockDim.x + threadIdx.x] += 1;
}

// A stream, an event, and memory that both sides of a copy touch.
struct Copies {
  cudaStream_t copying = nullptr, computing = nullptr;
  cudaEvent_t arrived = nullptr;
  void *pinned = nullptr, *device = nullptr;
  Copies() {
    for (cudaStream_t* s : {&copying, &computing})
      cudaStreamCreateWithFlags(s, cudaStreamNonBlocking);
    cudaEventCreateWithFlags(&arrived, cudaEventDisableTiming);
    cudaMallocHost(&pinned, kBytes);
    cudaMalloc(&device, kBytes);
  }
  ~Copies() {
    cudaFreeHost(pinned);
    cudaFree(device);
    cudaEventDestroy(arrived);
    cudaStreamDestroy(copying);
    cudaStreamDestroy(computing);
  }
  static constexpr std::size_t kBytes = 1024;
  // Races of a kernel that reads what was copied, having waited for it or not.
  int run(bool waits) {
    const int before = reports;
    cudaMemcpyAsync(device, pinned, kBytes, cudaMemcpyHostToDevice, copying);
    cudaEventRecord(arrived, copying);
    if (waits) cudaStreamWaitEvent(computing, arrived, 0);
    launch("add", adds_one, {dim3(1), dim3(64)}, computing, static_cast<float*>(device));
    return reports - before;
  }
};

}  // namespace

// ThreadSanitizer calls it, and must not be called from it.
extern "C" [[gnu::no_sanitize_thread]] void __tsan_on_report(void*) {
  ++reports;
}

TEST_CASE("races: barriers that are missing") {
  std::vector<float> x(256, 1), y(4 * 256);
  const Grid grid{dim3(4), dim3(256), 1024};
  CHECK(races(halves<true>, grid, x.data(), y.data()) == 0);
  CHECK(y[3] == 256);
  CHECK(races(halves<false>, grid, x.data(), y.data()) > 0);
  CHECK(races(rounds<true>, grid, x.data(), y.data()) == 0);
  CHECK(races(rounds<false>, grid, x.data(), y.data()) > 0);
}

TEST_CASE("races: inside a warp, where contexts are threads") {
  std::vector<float> y(2 * 64);
  const Grid grid{dim3(2), dim3(64)};
  CHECK(races(lanes<Order::warp_barrier>, grid, y.data()) == 0);
  CHECK(y[65] == 0);
  CHECK((races(lanes<Order::shuffle>, grid, y.data()) > 0) == by_threads());
  CHECK((races(lanes<Order::none>, grid, y.data()) > 0) == by_threads());
}

TEST_CASE("races: between the blocks of a launch, none from launch to launch") {
  std::vector<float> y(4 * 64);
  const Grid grid{dim3(4), dim3(64)};
  CHECK(races(neighbours_write<true>, grid, y.data()) == 0);
  CHECK(races(adds_one, grid, y.data()) == 0);
  for (float& v : y) v += 1;
  CHECK(races(neighbours_write<true>, grid, y.data()) == 0);
  CHECK(races(neighbours_write<false>, grid, y.data()) > 0);
  CHECK(races(reads_its_neighbour, grid, y.data()) > 0);
  int n = 0;
  float sum = 0;
  CHECK(races(count, grid, &n, &sum) == 0);
  CHECK(n == 256);
  CHECK(sum == 128);
}

TEST_CASE("races: a copy that nobody waited for") {
  CHECK(Copies().run(true) == 0);
  CHECK(Copies().run(false) > 0);
}

TEST_CASE("races: the host beside a stream") {
  Copies c;
  auto* host = static_cast<float*>(c.pinned);
  for (int i = 0; i < 64; ++i) host[i] = 1;
  const int before = reports;
  CHECK(c.run(true) == 0);
  cudaEventSynchronize(c.arrived);
  host[0] = 2;  // the copy has read it
  CHECK(reports == before);
  cudaMemcpyAsync(c.device, c.pinned, Copies::kBytes, cudaMemcpyHostToDevice, c.copying);
  host[1] = 2;  // it may not have
  CHECK(reports > before);
}

TEST_CASE("races: what a capture forks, as its events say, at every launch of the graph") {
  for (const bool joins_early : {true, false}) {
    Copies c;
    cudaEvent_t fork = nullptr;
    cudaEventCreateWithFlags(&fork, cudaEventDisableTiming);
    auto* x = static_cast<float*>(c.device);
    cudaStreamBeginCapture(c.computing, cudaStreamCaptureModeRelaxed);
    cudaEventRecord(fork, c.computing);
    cudaStreamWaitEvent(c.copying, fork, 0);
    launch("add", adds_one, {dim3(1), dim3(64)}, c.copying, x);
    cudaEventRecord(c.arrived, c.copying);
    if (joins_early) cudaStreamWaitEvent(c.computing, c.arrived, 0);
    launch("add", adds_one, {dim3(1), dim3(64)}, c.computing, x);
    if (!joins_early) cudaStreamWaitEvent(c.computing, c.arrived, 0);
    cudaGraph_t graph = nullptr;
    REQUIRE(cudaStreamEndCapture(c.computing, &graph) == cudaSuccess);
    const int before = reports;
    for (int i = 0; i < 2; ++i) cudaGraphLaunch(graph, c.computing);
    CHECK((reports > before) != joins_early);
    cudaGraphDestroy(graph);
    cudaEventDestroy(fork);
  }
}
