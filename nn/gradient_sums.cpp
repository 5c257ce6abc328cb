#include "nn/gradient_sums.h"

#include <utility>

namespace nextgrad {
namespace {

// Gradients begin at multiples of so many numbers in a bucket, for kernels that load several.
constexpr std::int64_t kAlign = 16;

}  // namespace

GradientSums::GradientSums(std::vector<Parameter> parameters, Communicator& everyone,
                           std::int64_t bucket_bytes)
    : parameters_(std::move(parameters)), everyone_(everyone), bucket_bytes_(bucket_bytes) {
  if (everyone.size() == 1) return;  // the gradients are the sums
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    parameters_[i].value.on_complete([this, i] {
      if (open_) add(i);
    });
}

GradientSums::~GradientSums() {
  if (everyone_.size() == 1) return;
  for (const Parameter& p : parameters_) p.value.on_complete({});
}

void GradientSums::begin() {
  open_ = everyone_.size() > 1;
  added_.assign(parameters_.size(), false);
  filling_ = {};
  sent_.clear();
  bytes_ = buckets_ = 0;
}

void GradientSums::add(std::size_t i) {
  const Parameter& p = parameters_[i];
  check(!added_[i], "the gradient of {} grew after it was summed over the ranks", p.name);
  added_[i] = true;
  filling_.members.push_back(i);
  filling_.at.push_back(filling_.size);
  filling_.size += (p.value.numel() + kAlign - 1) / kAlign * kAlign;
  if (filling_.size * static_cast<std::int64_t>(size_of(p.value.dtype())) >= bucket_bytes_) send();
}

void GradientSums::send() {
  if (filling_.members.empty()) return;
  Bucket bucket = std::exchange(filling_, {});
  const Tensor& first = parameters_[bucket.members[0]].value.grad();
  // What lies between gradients is never read.
  bucket.numbers = Tensor::empty({bucket.size}, first.dtype(), first.device());
  for (std::size_t k = 0; k < bucket.members.size(); ++k) {
    const Variable& value = parameters_[bucket.members[k]].value;
    Tensor place = bucket.numbers.slice(0, bucket.at[k], bucket.at[k] + value.numel());
    place.copy_(value.grad().reshape({value.numel()}));
    // From here on it is the place in the bucket.
    Variable(value).set_grad(place.reshape(value.shape()));
  }
  bytes_ += static_cast<std::int64_t>(bucket.numbers.nbytes());
  ++buckets_;
  bucket.sum = everyone_.start_sum(bucket.numbers);
  sent_.push_back(std::move(bucket));
}

void GradientSums::finish() {
  if (!open_) return;
  // Those that the last backward did not reach have what the ones before it left.
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    if (!added_[i] && parameters_[i].value.grad().defined()) add(i);
  send();
  open_ = false;
  for (const Bucket& bucket : sent_) bucket.sum->wait();
  sent_.clear();
}

}  // namespace nextgrad
