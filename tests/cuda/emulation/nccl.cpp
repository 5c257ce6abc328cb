#include "tests/cuda/emulation/nccl.h"

#include <random>
#include <set>
#include <string>

#include "tensor/communicator.h"

using namespace nextgrad;

struct ncclComm {};

namespace {

// Device memory is the host's, but no tensor's.
Tensor copy_of(const void* numbers, std::size_t count, ncclDataType_t type) {
  const DType dtype = type == ncclUint8     ? DType::u8
                      : type == ncclInt32   ? DType::i32
                      : type == ncclInt64   ? DType::i64
                      : type == ncclFloat32 ? DType::f32
                      : type == ncclFloat64 ? DType::f64
                                            : DType::bf16;
  Tensor t = Tensor::empty({static_cast<std::int64_t>(count)}, dtype);
  if (count > 0) std::memcpy(t.raw(), numbers, t.nbytes());
  return t;
}
void copy_to(void* numbers, const Tensor& t) {
  if (t.numel() > 0) std::memcpy(numbers, t.raw(), t.nbytes());
}

}  // namespace

const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclSuccess       ? "no error"
         : result == ncclRemoteError ? "remote process exited or there was a network error"
                                     : "invalid argument";
}
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::random_device random;
  for (char& c : id->internal) c = static_cast<char>(random());
  return ncclSuccess;
}
ncclResult_t ncclCommInitRank(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank) {
  const auto ids = world().gather(std::string(id.internal, sizeof id.internal));
  if (ranks != world().size() || rank != world().rank() ||
      std::set(ids.begin(), ids.end()).size() != 1)
    return ncclInvalidArgument;
  *comm = new ncclComm;
  return ncclSuccess;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  delete comm;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  return ncclCommDestroy(comm);
}
ncclResult_t ncclAllReduce(const void* from, void* to, std::size_t count, ncclDataType_t type,
                           ncclRedOp_t, ncclComm_t, cudaStream_t stream) {
  emulation::submit(stream, [=] {
    Tensor t = copy_of(from, count, type);
    world().sum(t);
    copy_to(to, t);
  });
  return ncclSuccess;
}
ncclResult_t ncclBroadcast(const void* from, void* to, std::size_t count, ncclDataType_t type,
                           int root, ncclComm_t, cudaStream_t stream) {
  emulation::submit(stream, [=] {
    Tensor t = copy_of(from, count, type);
    world().broadcast(t, root);
    copy_to(to, t);
  });
  return ncclSuccess;
}
ncclResult_t ncclAllGather(const void* from, void* to, std::size_t count, ncclDataType_t type,
                           ncclComm_t, cudaStream_t stream) {
  emulation::submit(stream, [=] { copy_to(to, world().gather(copy_of(from, count, type))); });
  return ncclSuccess;
}
