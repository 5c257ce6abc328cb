#include "nn/share.h"

namespace nextgrad {
namespace {

thread_local Share share;

}  // namespace

std::int64_t Share::count() const {
  std::int64_t n = 0;
  for (const auto& [begin, end] : samples) n += end - begin;
  return n;
}

Share share_of(Communicator& everyone, std::int64_t total, bool mirrored, int rank) {
  const std::int64_t size = everyone.size();
  if (rank < 0) rank = everyone.rank();
  const std::int64_t units = mirrored ? total / 2 : total;
  const std::int64_t begin = units * rank / size, end = units * (rank + 1) / size;
  if (units < size && size > 1)
    fail_input("a batch of {} has not a {} for each of {} processes; raise --batch or start fewer",
               total, mirrored ? "mirrored pair" : "sample", size);
  if (!mirrored) return {&everyone, {{begin, end}}, total};
  // The middle sample of an odd batch is its own partner.
  if (rank == size - 1) return {&everyone, {{begin, total - begin}}, total};
  return {&everyone, {{begin, end}, {total - end, total - begin}}, total};
}

ShareScope::ShareScope(Share mine) : before_(std::exchange(share, std::move(mine))) {}
ShareScope::~ShareScope() {
  share = std::move(before_);
}

const Share& current_share() {
  return share;
}

}  // namespace nextgrad
