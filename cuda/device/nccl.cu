// Collectives between GPUs by NCCL, on a stream of their own beside the computation:
//
//   computing   ... backward ─┬─ backward ... ──┬─ wait(): what follows has the sum
//                             ▼ fork            │ end
//   collecting                └─ sum ───────────┘
//
// Both are events, so that the host never waits, and a capture of the computing stream holds its
// collectives like any other work; such captures must go before the communicator.
//
// NCCL adds in an order of its own, not that of the ranks, bf16 rounded after each term: the same
// bits on all ranks, and at every run of one size on machines that are connected alike.
//
// A collective that a rank fails to join never ends by itself. When the hosts hear of a failure
// the communicator is aborted: its kernels end, with rubbish for results, and the call that
// waits for the GPU throws PeerFailure, as does every further collective.
#include <nccl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <thread>

#include "cuda/device/cuda_backend.h"
#include "tensor/communicator.h"

namespace nextgrad::cuda {
namespace {

ncclDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return ncclFloat32;
    case DType::f64:
      return ncclFloat64;
    case DType::bf16:
      return ncclBfloat16;
    case DType::i64:
      return ncclInt64;
    case DType::i32:
      return ncclInt32;
    case DType::u8:
      return ncclUint8;
  }
  fail("NCCL has no type for {}", name_of(dtype));
}

std::size_t count_of(const Tensor& t) {
  return static_cast<std::size_t>(t.numel());
}

void nccl_check(ncclResult_t status, const char* doing) {
  if (status != ncclSuccess) fail("NCCL: {}: {}", doing, ncclGetErrorString(status));
}

cudaEvent_t new_event() {
  cudaEvent_t event = nullptr;
  cuda_check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "creating an event");
  return event;
}

// A collective under way. Its tensor's memory belongs to the computing stream, which so must wait
// for the end even if nobody else does.
class UnderWay final : public Communicator::Pending {
 public:
  UnderWay(cudaStream_t computing, Tensor t) : computing_(computing), tensor_(std::move(t)) {}
  ~UnderWay() override {
    if (tensor_.defined()) cudaStreamWaitEvent(computing_, end_, 0);
    cudaEventDestroy(end_);
  }
  UnderWay(const UnderWay&) = delete;
  UnderWay& operator=(const UnderWay&) = delete;
  void submitted(cudaStream_t collecting) {
    cuda_check(cudaEventRecord(end_, collecting), "a collective's end");
  }
  void wait() override {
    cuda_check(cudaStreamWaitEvent(computing_, end_, 0), "waiting for a collective");
    tensor_ = {};
  }

 private:
  cudaStream_t computing_;
  cudaEvent_t end_ = new_event();
  Tensor tensor_;
};

}  // namespace

class NcclCommunicator final : public ThroughHost {
 public:
  NcclCommunicator(CudaBackend& backend, Communicator& hosts)
      : ThroughHost(hosts), backend_(backend) {
    use_device(backend_.index_);
    refuse_shared_gpus();
    // Until all have come only the hosts can end a rank that waits here.
    ncclUniqueId id{};
    if (is_root()) nccl_check(ncclGetUniqueId(&id), "making an id");
    const std::string bytes = hosts.broadcast(std::string(id.internal, sizeof id.internal));
    std::copy(bytes.begin(), bytes.end(), id.internal);
    nccl_check(ncclCommInitRank(&connection_->comm, size(), id, rank()), "connecting the ranks");
    // A sum's few blocks should not queue behind the backward's: the highest priority, to which
    // CUDA clamps.
    cuda_check(cudaStreamCreateWithPriority(&collecting_, cudaStreamNonBlocking, -1000),
               "creating a stream");
    fork_ = new_event();
    hosts.on_failure([connection = connection_] { abort(connection); });
    after_collectives([&hosts, connection = connection_] {
      if (connection->ended) hosts.check_peers();
    });
  }
  ~NcclCommunicator() override {
    // The others may never come to what this rank has begun, nor to the end.
    if (std::uncaught_exceptions() > exceptions_) abort(connection_);
    if (!connection_->ended) {
      cudaStreamSynchronize(backend_.stream_);
      cudaStreamSynchronize(collecting_);
    }
    hosts_.on_failure({});
    after_collectives({});
    if (!connection_->ended.exchange(true)) ncclCommDestroy(connection_->comm);
    cudaEventDestroy(fork_);
    cudaStreamDestroy(collecting_);
  }
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  std::unique_ptr<Pending> start_sum(Tensor& t) override {
    if (t.device() == Device{}) return hosts_.start_sum(t);
    t.bump_version();
    return start("a sum", t, [&](ncclComm_t comm) {
      return ncclAllReduce(t.raw(), t.raw(), count_of(t), type_of(t.dtype()), ncclSum, comm,
                           collecting_);
    });
  }
  void broadcast(Tensor& t, int root) override {
    if (t.device() == Device{}) return hosts_.broadcast(t, root);
    t.bump_version();
    start("a broadcast", t, [&](ncclComm_t comm) {
      return ncclBroadcast(t.raw(), t.raw(), count_of(t), type_of(t.dtype()), root, comm,
                           collecting_);
    })->wait();
  }
  using Communicator::broadcast;
  Tensor gather(const Tensor& t) override {
    if (t.device() == Device{}) return hosts_.gather(t);
    Shape shape{size()};
    for (const std::int64_t extent : t.shape()) shape.push_back(extent);
    const Tensor mine = t.contiguous(), all = Tensor::empty(shape, t.dtype(), t.device());
    start("a gathering", mine, [&](ncclComm_t comm) {
      return ncclAllGather(mine.raw(), all.raw(), count_of(mine), type_of(t.dtype()), comm,
                           collecting_);
    })->wait();
    return all;
  }
  using Communicator::gather;
  bool capturable() const override { return true; }

 private:
  // NCCL's communicator, shared with the threads that abort it: it belongs to whoever ends it.
  struct Connection {
    ncclComm_t comm = nullptr;
    std::timed_mutex calls;  // held while NCCL is called
    std::atomic<bool> ended = false;
  };
  // Returns at once: NCCL waits for the other ranks of this machine, and for captures to go.
  static void abort(const std::shared_ptr<Connection>& connection) {
    if (connection->ended.exchange(true)) return;
    std::thread([connection] {
      // A call under way ends soon, unless it waits for the rank that failed.
      const std::unique_lock lock(connection->calls, std::chrono::seconds(1));
      ncclCommAbort(connection->comm);
    }).detach();
  }

  void refuse_shared_gpus() {
    const auto& uuid = backend_.properties_.uuid.bytes;
    const std::vector<std::string> all = hosts_.gather(std::string(uuid, sizeof uuid));
    for (auto a = all.begin(); a != all.end(); ++a)
      if (const auto b = std::find(a + 1, all.end(), *a); b != all.end())
        fail_input(
            "ranks {} and {} compute on one GPU, which NCCL cannot do: start as many processes on "
            "each machine as it has GPUs, each with a GPU of its own",
            a - all.begin(), b - all.begin());
  }
  void after_collectives(std::function<void()> call) {
    const std::scoped_lock lock(backend_.faults_mutex_);
    backend_.after_collectives_ = std::move(call);
  }
  template <class Call>
  std::unique_ptr<Pending> start(const char* doing, const Tensor& t, const Call& call) {
    check(t.device() == backend_.device() && t.is_contiguous(),
          "{}: wants a contiguous tensor of {}, got {} {}", doing, backend_.device(), t.device(),
          t.shape());
    use_device(backend_.index_);
    const cudaStream_t computing = backend_.stream_;
    auto under_way = std::make_unique<UnderWay>(computing, t);
    const std::scoped_lock lock(connection_->calls);
    ncclResult_t status = ncclRemoteError;
    if (!connection_->ended) {
      cuda_check(cudaEventRecord(fork_, computing), doing);
      cuda_check(cudaStreamWaitEvent(collecting_, fork_, 0), doing);
      status = call(connection_->comm);
      backend_.collectives_ = true;
    }
    // A rank that fails closes its connections, of which NCCL may learn before the hosts do.
    for (int i = 0; status != ncclSuccess && i < 100; ++i) {
      hosts_.check_peers();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    nccl_check(status, doing);
    under_way->submitted(collecting_);
    return under_way;
  }

  CudaBackend& backend_;
  const std::shared_ptr<Connection> connection_ = std::make_shared<Connection>();
  const int exceptions_ = std::uncaught_exceptions();
  cudaStream_t collecting_ = nullptr;
  cudaEvent_t fork_ = nullptr;
};

std::unique_ptr<Communicator> CudaBackend::connect(Communicator& hosts) {
  if (hosts.size() == 1) return Backend::connect(hosts);
  return std::make_unique<NcclCommunicator>(*this, hosts);
}

}  // namespace nextgrad::cuda
