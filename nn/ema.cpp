#include "nn/ema.h"

#include <algorithm>
#include <unordered_map>

namespace nextgrad {

WeightAverage::WeightAverage(Module& module, double decay) : module_(module), decay_(decay) {
  check(decay >= 0 && decay < 1, "weight average: decay {} must be at least 0 and below 1", decay);
  for (const Parameter& p : module.named_parameters())
    parameters_.push_back(p.value.value().clone());
  for (const Buffer& b : module.named_buffers()) buffers_.push_back(b.value->clone());
}

void WeightAverage::update() {
  check(!swapped_, "weight average: update() while the averaged weights are swapped in");
  const auto t = static_cast<double>(updates_++);
  const double d = std::min(decay_, (1 + t) / (10 + t));
  const auto parameters = module_.named_parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Tensor& value = parameters[i].value.value();
    value.backend().lerp(parameters_[i], value, 1 - d);
  }
  const auto buffers = module_.named_buffers();
  for (std::size_t i = 0; i < buffers.size(); ++i) buffers_[i].copy_(*buffers[i].value);
}

void WeightAverage::swap() {
  const auto parameters = module_.named_parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    Tensor mine = parameters_[i];
    parameters_[i] = parameters[i].value.value();
    parameters[i].value.set_value(mine);
  }
  const auto buffers = module_.named_buffers();
  for (std::size_t i = 0; i < buffers.size(); ++i) std::swap(buffers_[i], *buffers[i].value);
  swapped_ = !swapped_;
}

StateDict WeightAverage::state() const {
  check(!swapped_, "weight average: state() while the averaged weights are swapped in");
  StateDict dict{{"updates", Tensor::from(std::vector<std::int64_t>{updates_}, {})}};
  const auto parameters = module_.named_parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    dict.push_back({parameters[i].name, parameters_[i].to(Device{}).clone()});
  }
  const auto buffers = module_.named_buffers();
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    dict.push_back({buffers[i].name, buffers_[i].to(Device{}).clone()});
  }
  return dict;
}

void WeightAverage::load_state(const StateDict& state) {
  check(!swapped_, "weight average: load_state() while the averaged weights are swapped in");
  std::unordered_map<std::string, const Tensor*> file;
  for (const NamedTensor& t : state) file[t.name] = &t.value;
  const auto find = [&](const std::string& name, const Tensor& like) {
    const auto found = file.find(name);
    if (found == file.end() || !(found->second->shape() == like.shape())) {
      fail_input(
          "weight average: the state's {} is missing or of another shape; it belongs to "
          "another model",
          name);
    }
    return found->second->to(like.dtype()).to(like.device()).clone();
  };
  std::vector<Tensor> parameters, buffers;
  for (const Parameter& p : module_.named_parameters())
    parameters.push_back(find(p.name, p.value.value()));
  for (const Buffer& b : module_.named_buffers()) buffers.push_back(find(b.name, *b.value));
  updates_ = static_cast<std::int64_t>(find("updates", Tensor::zeros({}, DType::i64)).item());
  parameters_ = std::move(parameters);
  buffers_ = std::move(buffers);
}

}  // namespace nextgrad
