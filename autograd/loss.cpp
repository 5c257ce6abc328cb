#include "autograd/loss.h"

#include "autograd/arithmetic.h"
#include "autograd/checks.h"
#include "autograd/reduce.h"
#include "autograd/shape_ops.h"

namespace nextgrad {

namespace {

// What the backward of a cross entropy reads.
struct SavedLoss {
  Saved logits, labels, weights, log_sum, normaliser;
  CrossEntropyOptions options;
  SavedLoss(const Tensor& z, const CrossEntropyTarget& t, const CrossEntropyResult& r)
      : logits(z),
        labels(t.labels),
        weights(t.weights),
        log_sum(r.log_sum),
        normaliser(r.normaliser),
        options(t.options) {}
  CrossEntropyTarget target() const { return {labels.get(), weights.get(), options}; }
  CrossEntropyResult result() const { return {{}, log_sum.get(), normaliser.get()}; }
};

Tensor check_loss(const char* op, const Variable& logits, const Tensor& labels,
                  const CrossEntropyOptions& options, const Tensor& weights) {
  check_floating(op, logits);
  check(logits.ndim() >= 1 && logits.numel() > 0, "{}: the logits {} are empty", op,
        logits.shape());
  check(labels.defined() && labels.dtype() == DType::i32, "{}: labels must be i32", op);
  for (const Tensor& t : {labels, weights})
    check(!t.defined() || t.device() == logits.device(),
          "{}: logits are on {}, labels or class weights on {}; move one with to()", op,
          logits.device(), t.defined() ? t.device() : Device());
  check(options.label_smoothing >= 0 && options.label_smoothing <= 1,
        "{}: label smoothing {} is not in [0, 1]", op, options.label_smoothing);
  check(!weights.defined() || (weights.numel() == logits.dim(-1)),
        "{}: {} class weights for {} classes", op, weights.defined() ? weights.numel() : 0,
        logits.dim(-1));
  return weights.defined() ? weights.to(parameter_dtype(logits.dtype())).contiguous() : weights;
}

}  // namespace

// loss = sum of w[l] (logsumexp(z) - z[l]) / normaliser: dz = w[l] (softmax(z) - onehot(l)) /
// normaliser
Variable cross_entropy(const Variable& logits, const Tensor& labels,
                       const CrossEntropyOptions& options, const Tensor& class_weights) {
  const Tensor weights = check_loss("cross_entropy", logits, labels, options, class_weights);
  const std::int64_t k = logits.dim(-1), pixels = logits.numel() / k;
  check(labels.numel() == pixels, "cross_entropy: labels {} for logits {}", labels.shape(),
        logits.shape());
  const Tensor z = logits.value().reshape({pixels, k});
  const CrossEntropyTarget t{labels.reshape({pixels}), weights, options};
  const CrossEntropyResult r = z.backend().cross_entropy(z, t);
  return record(
      "cross_entropy", r.loss, {logits},
      [from = logits.shape(), s = SavedLoss(z, t, r)](const Tensor& dy) -> std::vector<Tensor> {
        return {dy.backend()
                    .cross_entropy_backward(s.logits.get(), s.target(), s.result(), dy)
                    .reshape(from)};
      });
}

// The same on z = upsample(logits): the upsampling's transpose is applied to each dz row at once.
Variable upsample_cross_entropy(const Variable& logits, const Tensor& labels,
                                const CrossEntropyOptions& options, const Tensor& class_weights) {
  const Tensor weights =
      check_loss("upsample_cross_entropy", logits, labels, options, class_weights);
  check(logits.ndim() == 4 && labels.ndim() == 3 && labels.dim(0) == logits.dim(0) &&
            labels.numel() > 0,
        "upsample_cross_entropy: labels {} for logits {} (wants [N,H,W] and [N,h,w,K])",
        labels.shape(), logits.shape());
  const Tensor z = logits.value().contiguous();
  const CrossEntropyTarget t{labels.contiguous(), weights, options};
  const CrossEntropyResult r = z.backend().upsample_cross_entropy(z, t);
  return record("upsample_cross_entropy", r.loss, {logits},
                [s = SavedLoss(z, t, r)](const Tensor& dy) -> std::vector<Tensor> {
                  return {dy.backend().upsample_cross_entropy_backward(s.logits.get(), s.target(),
                                                                       s.result(), dy)};
                });
}

Variable soft_cross_entropy(const Variable& logits, const Tensor& targets) {
  check(logits.ndim() >= 1 && logits.numel() > 0 && targets.shape() == logits.shape(),
        "soft_cross_entropy: targets {} for logits {}", targets.shape(), logits.shape());
  const auto rows = static_cast<double>(targets.numel() / targets.dim(-1));
  const Variable z = cast(logits, parameter_dtype(logits.dtype()));
  return sum(log_softmax(z) * Variable(targets.to(z.dtype()))) * (-1 / rows);
}

}  // namespace nextgrad
