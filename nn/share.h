// A batch that several processes compute together: each has its share of the samples, but what goes
// over the batch (batch norm's statistics, random numbers of a sample) is as if one had all.
#pragma once

#include <utility>
#include <vector>

#include "tensor/communicator.h"

namespace nextgrad {

struct Share {
  Communicator* everyone = nullptr;  // null: this process has all
  // Which samples of the batch: [begin, end) once, or twice where they are mixed in mirrored pairs.
  std::vector<std::pair<std::int64_t, std::int64_t>> samples;
  std::int64_t total = 0;  // samples of the batch

  std::int64_t count() const;  // of this share
};
// The share of this rank, or of the one that is named: neighbouring samples, or with `mirrored`
// neighbours and their partners, sample k's being total - 1 - k, so that the reverse of a share is
// made of its own samples. Throws InputError where a rank would have none.
Share share_of(Communicator& everyone, std::int64_t total, bool mirrored = false, int rank = -1);

// While it lives, this thread's layers compute such a share. Scopes nest.
class ShareScope {
 public:
  explicit ShareScope(Share share);
  ~ShareScope();
  ShareScope(const ShareScope&) = delete;
  ShareScope& operator=(const ShareScope&) = delete;

 private:
  Share before_;
};
const Share& current_share();

}  // namespace nextgrad
