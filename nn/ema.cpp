#include "nn/ema.h"

#include <algorithm>
#include <utility>

namespace nextgrad {

WeightAverage::WeightAverage(Module& module, double decay) : module_(module), decay_(decay) {
  check(decay >= 0 && decay < 1, "weight average: decay {} must be at least 0 and below 1", decay);
  for (const Parameter& p : module.named_parameters())
    average_.push_back({p.name, p.value.value().clone()});
  for (const Buffer& b : module.named_buffers()) average_.push_back({b.name, b.value->clone()});
}

void WeightAverage::update() {
  check(!swapped_, "weight average: update() while the averaged weights are swapped in");
  const auto t = static_cast<double>(updates_++);
  const double d = std::min(decay_, (1 + t) / (10 + t));
  std::size_t i = 0;
  for (const Parameter& p : module_.named_parameters())
    p.value.backend().lerp(average_[i++].value, p.value.value(), 1 - d);
  for (const Buffer& b : module_.named_buffers()) average_[i++].value.copy_(*b.value);
}

void WeightAverage::swap() {
  std::size_t i = 0;
  for (const Parameter& p : module_.named_parameters())
    p.value.set_value(std::exchange(average_[i++].value, p.value.value()));
  for (const Buffer& b : module_.named_buffers()) std::swap(average_[i++].value, *b.value);
  swapped_ = !swapped_;
}

StateDict WeightAverage::state() const {
  check(!swapped_, "weight average: state() while the averaged weights are swapped in");
  StateDict dict{{"updates", Tensor::from(std::vector<std::int64_t>{updates_}, {})}};
  for (const NamedTensor& t : average_) dict.push_back({t.name, t.value.to(Device{}).clone()});
  return dict;
}

void WeightAverage::load_state(const StateDict& state) {
  check(!swapped_, "weight average: load_state() while the averaged weights are swapped in");
  const auto find = [&](const std::string& name, const Tensor& like) {
    const Tensor& t = find_tensor(state, "weight average", name, like.shape());
    return t.to(like.dtype()).to(like.device()).clone();
  };
  StateDict loaded = average_;
  for (NamedTensor& t : loaded) t.value = find(t.name, t.value);
  updates_ = static_cast<std::int64_t>(find("updates", Tensor::zeros({}, DType::i64)).item());
  average_ = std::move(loaded);
}

}  // namespace nextgrad
