// Normalisation; gamma and beta [C], the last axis of x.
#pragma once

#include "autograd/variable.h"
#include "tensor/communicator.h"

namespace nextgrad {

// Batch norm with this batch's statistics (Ioffe and Szegedy 2015) over all axes but the last.
// `running`, if given, moves on by them.
Variable batch_norm(const Variable& x, const Variable& gamma, const Variable& beta, double eps,
                    const RunningStatistics* running = nullptr);
// The same with the statistics of all ranks' batches together (SyncBN): x is this rank's part of
// `rows` rows in all. centre [C], the same on all ranks, is subtracted first, so that the variance
// does not cancel: near the mean. mean and rstd receive the statistics [C]. The gradients of gamma
// and beta are this rank's part.
Variable sync_batch_norm(const Variable& x, const Variable& gamma, const Variable& beta, double eps,
                         Communicator& everyone, std::int64_t rows, const Tensor& centre,
                         Tensor* mean = nullptr, Tensor* rstd = nullptr);
// Batch norm with given statistics (evaluation): differentiable in x, gamma and beta. Where nothing
// records, it waits to be fused (fuse.h).
Variable batch_norm_eval(Variable x, const Variable& gamma, const Variable& beta,
                         const Tensor& running_mean, const Tensor& running_var, double eps);
Variable layer_norm(const Variable& x, const Variable& gamma, const Variable& beta, double eps);
// x [N, ..., C]; statistics per image and group of C / groups neighbouring channels.
Variable group_norm(const Variable& x, const Variable& gamma, const Variable& beta, int groups,
                    double eps);

}  // namespace nextgrad
