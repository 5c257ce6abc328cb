// The runtime calls: memory is the host's, a stream does its work when it is submitted, a graph is
// a list of what was submitted while it was captured. Events order streams (order.h), captured ones
// whenever the graph is launched.
#include "tests/cuda/emulation/runtime.h"

#include <unistd.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_set>
#include <vector>

#include "tensor/error.h"
#include "tests/cuda/emulation/order.h"

namespace nextgrad::emulation {

namespace {
thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;
}  // namespace

using SharedTimeline = std::shared_ptr<Timeline>;
struct Graph {
  struct Node {
    SharedTimeline on;  // null: where the graph is launched
    Work work;
  };
  std::vector<Node> nodes;
  int owners = 1;  // it and what was instantiated of it are one
  Graph() = default;
  ~Graph() {
    Timeline::all_done().acquire();
    for (const Node& n : nodes) n.work.destroy(n.work.data);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
};
// A capture under way: its streams, the first being the one that began it.
struct Capturing {
  Graph* graph = new Graph;
  std::vector<Stream*> streams;
  bool ended = false;
};
struct Stream {
  int device = current_device;
  SharedTimeline timeline = std::make_shared<Timeline>();
  std::shared_ptr<Capturing> capturing;
  std::size_t submitted = 0, joined = 0;  // of a forked stream
};
struct Event {
  int device = current_device;
  std::shared_ptr<Point> point = std::make_shared<Point>();
  std::shared_ptr<Capturing> capturing;  // when it was recorded, where, after what
  Stream* stream = nullptr;
  std::size_t submitted = 0;
};

namespace {

constexpr std::size_t kTotal = std::size_t{4} << 30;  // of each device

struct Memory {
  struct Block {
    std::size_t bytes;
    int device;
  };
  std::mutex mutex;
  std::map<std::uintptr_t, Block> blocks;
  std::unordered_set<const void*> pinned;
  std::map<int, std::size_t> used;  // by device
};
Memory& memory() {
  static auto* m = new Memory;
  return *m;
}

bool is_pinned(const void* at) {
  const std::scoped_lock lock(memory().mutex);
  return memory().pinned.contains(at);
}

int device_of(cudaStream_t stream) {
  return stream != nullptr ? stream->device : current_device;
}
// Whether it is memory of a device that the stream is not of.
bool is_foreign(std::uintptr_t address, cudaStream_t stream) {
  if (troubles().devices == 1) return false;
  const std::scoped_lock lock(memory().mutex);
  auto block = memory().blocks.upper_bound(address);
  if (block == memory().blocks.begin()) return false;
  --block;
  return address - block->first < block->second.bytes && block->second.device != device_of(stream);
}
bool is_foreign(const void* address, cudaStream_t stream) {
  return is_foreign(reinterpret_cast<std::uintptr_t>(address), stream);
}

}  // namespace

bool is_current(cudaStream_t stream) {
  if (device_of(stream) == current_device) return true;
  last_error = cudaErrorInvalidResourceHandle;
  return false;
}

void check_memory(const char* name, const void* argument, std::size_t bytes, cudaStream_t stream) {
  for (std::size_t at = 0; at + sizeof(std::uintptr_t) <= bytes; at += sizeof(std::uintptr_t)) {
    std::uintptr_t word = 0;
    std::memcpy(&word, static_cast<const std::byte*>(argument) + at, sizeof word);
    check(!is_foreign(word, stream),
          "emulated kernel {}: runs on device {} and is given memory of another", name,
          device_of(stream));
  }
}

Troubles& troubles() {
  static Troubles t;
  return t;
}

void submit(cudaStream_t stream, const Work& work) {
  const auto once = [&] {
    const struct End {
      const Work& work;
      ~End() { work.destroy(work.data); }
    } end{work};
    work.call(work.data);  // which throws what it finds wrong
  };
  if (stream == nullptr) return once();  // the host waits
  if (stream->capturing == nullptr) return stream->timeline->run(once);
  const bool origin = stream->capturing->streams[0] == stream;
  stream->capturing->graph->nodes.push_back({origin ? nullptr : stream->timeline, work});
  ++stream->submitted;
}

}  // namespace nextgrad::emulation

using namespace nextgrad::emulation;

const char* cudaGetErrorString(cudaError_t status) {
  return status == cudaErrorMemoryAllocation        ? "out of memory"
         : status == cudaSuccess                    ? "no error"
         : status == cudaErrorStreamCaptureUnjoined ? "capturing stream has unjoined work"
         : status == cudaErrorInvalidDevice         ? "invalid device ordinal"
         : status == cudaErrorInvalidResourceHandle ? "invalid resource handle"
                                                    : "invalid argument";
}
const char* cudaGetErrorName(cudaError_t status) {
  return status == cudaErrorMemoryAllocation        ? "cudaErrorMemoryAllocation"
         : status == cudaSuccess                    ? "cudaSuccess"
         : status == cudaErrorStreamCaptureUnjoined ? "cudaErrorStreamCaptureUnjoined"
         : status == cudaErrorInvalidDevice         ? "cudaErrorInvalidDevice"
         : status == cudaErrorInvalidResourceHandle ? "cudaErrorInvalidResourceHandle"
                                                    : "cudaErrorInvalidValue";
}
cudaError_t cudaGetLastError() {
  return std::exchange(last_error, cudaSuccess);
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = troubles().driver;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = troubles().devices;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= troubles().devices) return cudaErrorInvalidDevice;
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  *p = {"emulated on the CPU", 8, 0, 4, 32, 1 << 20, kTotal, std::size_t{99} << 10, {}};
  const int own[] = {getpid(), device};  // each process has GPUs of its own
  std::memcpy(p->uuid.bytes, own, sizeof own);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total) {
  const std::scoped_lock lock(memory().mutex);
  *total = kTotal;
  *free_bytes = kTotal - memory().used[current_device];
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** block, std::size_t bytes) {
  const std::scoped_lock lock(memory().mutex);
  std::size_t& used = memory().used[current_device];
  if (bytes > kTotal - used) return cudaErrorMemoryAllocation;
  *block = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (*block == nullptr) return cudaErrorMemoryAllocation;
  memory().blocks[reinterpret_cast<std::uintptr_t>(*block)] = {bytes, current_device};
  used += bytes;
  return cudaSuccess;
}
cudaError_t cudaFree(void* block) {
  const std::scoped_lock lock(memory().mutex);
  const auto found = memory().blocks.find(reinterpret_cast<std::uintptr_t>(block));
  if (found == memory().blocks.end()) return cudaErrorInvalidValue;
  Timeline::all_done().acquire();
  unpoison(block, found->second.bytes);
  memory().used[found->second.device] -= found->second.bytes;
  memory().blocks.erase(found);
  std::free(block);
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** block, std::size_t bytes) {
  *block = std::malloc(bytes);
  const std::scoped_lock lock(memory().mutex);
  memory().pinned.insert(*block);
  return *block != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFreeHost(void* block) {
  {
    const std::scoped_lock lock(memory().mutex);
    memory().pinned.erase(block);
  }
  Timeline::all_done().acquire();
  std::free(block);
  return cudaSuccess;
}
// From memory that is not pinned the call returns when the host's numbers were read, to it when
// they were written. CUDA copies another device's memory, too, but in no order with that device's
// own work: nobody is to do so.
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (is_foreign(to, stream) || is_foreign(from, stream)) return cudaErrorInvalidValue;
  const bool read_now = kind == cudaMemcpyHostToDevice && !is_pinned(from);
  if (read_now) reads(from, bytes);
  submit(stream, [=] {
    if (!read_now) reads(from, bytes);
    writes(to, bytes);
    copy(to, from, bytes);
  });
  const bool waits = kind == cudaMemcpyDeviceToHost && !is_pinned(to);
  if (waits && stream != nullptr && stream->capturing == nullptr) stream->timeline->wait();
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  if (!is_current(stream)) return cudaGetLastError();
  if (is_foreign(to, stream)) return cudaErrorInvalidValue;
  submit(stream, [=] {
    writes(to, bytes);
    fill(to, static_cast<unsigned char>(value), bytes);
  });
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new Stream;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
// As on a device, waiting inside a capture is an error.
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream == nullptr) return cudaSuccess;
  if (stream->capturing != nullptr) return cudaErrorInvalidValue;
  stream->timeline->wait();
  return troubles().of_kernels.exchange(cudaSuccess);
}
// Waiting for what is captured forks the stream into the capture, or joins the other's to it.
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event->capturing != nullptr) {
    if (event->capturing->ended) return cudaErrorInvalidValue;
    if (stream->capturing == nullptr) {
      stream->capturing = event->capturing;
      stream->capturing->streams.push_back(stream);
      stream->submitted = stream->joined = 0;
    }
    event->stream->joined = event->submitted;
  }
  submit(stream, [point = event->point] { point->acquire(); });
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream->capturing != nullptr) return cudaErrorInvalidValue;
  stream->capturing = std::make_shared<Capturing>();
  stream->capturing->streams.push_back(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const bool active = stream != nullptr && stream->capturing != nullptr;
  *status = active ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  const auto capturing = stream->capturing;
  if (capturing == nullptr || capturing->streams[0] != stream) return cudaErrorInvalidValue;
  capturing->ended = true;
  bool all_joined = true;
  for (Stream* s : capturing->streams) {
    all_joined &= s == stream || s->joined == s->submitted;
    s->capturing = nullptr;
  }
  if (!all_joined) {
    delete capturing->graph;
    return cudaErrorStreamCaptureUnjoined;
  }
  *graph = capturing->graph;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  ++graph->owners;
  *exec = graph;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  submit(stream, [exec] {
    for (const auto& [on, work] : exec->nodes) {
      const auto call = [&w = work] { w.call(w.data); };
      on != nullptr ? on->go_on(call) : call();
    }
  });
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  if (--graph->owners == 0) delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  return cudaGraphDestroy(exec);
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new Event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (event->device != stream->device) return cudaErrorInvalidResourceHandle;
  submit(stream, [point = event->point] { point->release(); });
  *event = {event->device, event->point, stream->capturing, stream, stream->submitted};
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->capturing != nullptr) return cudaErrorInvalidValue;
  event->point->acquire();
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
