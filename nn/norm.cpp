#include "nn/norm.h"

#include "autograd/recompute.h"
#include "nn/share.h"

namespace nextgrad {

BatchNorm2d::BatchNorm2d(std::int64_t channels, double eps, double momentum)
    : ChannelNorm(channels, eps),
      running_mean(buffer("running_mean", Tensor::zeros({channels}))),
      running_var(buffer("running_var", Tensor::full({channels}, 1))),
      num_batches_tracked(buffer("num_batches_tracked", Tensor::zeros({}, DType::i64))),
      momentum_(momentum) {}

Variable BatchNorm2d::forward(Variable x) const {
  if (!training()) return batch_norm_eval(x, weight, bias, running_mean, running_var, eps_);
  const Share& share = current_share();
  std::int64_t rows = x.numel() / x.dim(-1);
  if (share.everyone != nullptr) rows = rows / share.count() * share.total;  // of all ranks
  check(rows > 1,
        "batch norm: input {} has one value per channel, which has no variance; train on larger "
        "images or more of them",
        x.shape());
  const RunningStatistics running{running_mean, running_var, momentum_, &num_batches_tracked};
  // What one process has alone, one op reads twice while it is in the cache.
  if (share.everyone == nullptr || share.everyone->size() == 1)
    return batch_norm(x, weight, bias, eps_, recomputing() ? nullptr : &running);
  Tensor mean, rstd;
  Variable y = sync_batch_norm(x, weight, bias, eps_, *share.everyone, rows, running_mean, &mean,
                               &rstd);
  if (!recomputing()) x.backend().update_running(running, mean, rstd, eps_, rows);
  return y;
}

GroupNorm::GroupNorm(int groups, std::int64_t channels, double eps)
    : ChannelNorm(channels, eps), groups_(groups) {
  check(groups >= 1 && channels % groups == 0, "GroupNorm: {} groups must divide {} channels",
        groups, channels);
}

}  // namespace nextgrad
