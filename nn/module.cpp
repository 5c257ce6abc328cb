#include "nn/module.h"

namespace nextgrad {

Tensor to_torch_layout(const Tensor& t, Layout layout) {
  if (layout == Layout::conv) return t.permute({0, 3, 1, 2});
  if (layout == Layout::depthwise) return t.permute({2, 0, 1}).unsqueeze(1);
  return t;
}

Tensor from_torch_layout(const Tensor& t, Layout layout) {
  if (layout == Layout::conv) return t.permute({0, 2, 3, 1}).contiguous();
  if (layout == Layout::depthwise) return t.squeeze(1).permute({1, 2, 0}).contiguous();
  return t.contiguous();
}

Shape torch_shape(const Shape& s, Layout layout) {
  if (layout == Layout::conv) return {s[0], s[3], s[1], s[2]};
  if (layout == Layout::depthwise) return {s[2], 1, s[0], s[1]};
  return s;
}

Variable Module::forward(Variable) const {
  fail("this module has no forward of one input; use its own methods");
}

std::vector<std::pair<std::string, const Module*>> Module::named_modules() const {
  std::vector<std::pair<std::string, const Module*>> all{{"", this}};
  for (const auto& [name, child] : children_)
    for (const auto& [inner, module] : child->named_modules())
      all.emplace_back(inner.empty() || name.empty() ? name + inner : name + "." + inner, module);
  return all;
}

std::vector<Parameter> Module::named_parameters() const {
  std::vector<Parameter> all;
  for (const auto& [prefix, module] : named_modules())
    for (Parameter p : module->parameters_) {
      if (!prefix.empty()) p.name = prefix + "." + p.name;
      all.push_back(std::move(p));
    }
  return all;
}

std::vector<Buffer> Module::named_buffers() const {
  std::vector<Buffer> all;
  for (const auto& [prefix, module] : named_modules())
    for (const auto& [name, value] : module->buffers_)
      all.push_back({prefix.empty() ? name : prefix + "." + name, value.get()});
  return all;
}

std::int64_t Module::parameter_count() const {
  std::int64_t count = 0;
  for (const Parameter& p : named_parameters()) count += p.value.value().numel();
  return count;
}

void Module::train(bool on) {
  training_ = on;
  for (auto& [name, child] : children_) child->train(on);
}

void Module::to(DType dtype) {
  check(dtype == DType::f32 || dtype == DType::f64, "a module computes in f32 or f64, not {}",
        name_of(dtype));
  for (const Parameter& p : named_parameters()) p.value.set_value(p.value.value().to(dtype));
  for (const Buffer& b : named_buffers())
    if (is_floating(b.value->dtype())) *b.value = b.value->to(dtype);
  zero_grad();
}

void Module::to(Device device) {
  for (const Parameter& p : named_parameters()) p.value.set_value(p.value.value().to(device));
  // Counters as well: kernels count, also in steps that are captured.
  for (const Buffer& b : named_buffers()) *b.value = b.value->to(device);
  zero_grad();
}

void Module::zero_grad() {
  for (Parameter& p : named_parameters()) p.value.zero_grad();
}

Device Module::device() const {
  const auto all = named_parameters();
  return all.empty() ? Device{} : all.front().value.device();
}

Variable Module::parameter(const std::string& name, const Shape& shape, const Init& init,
                           Layout layout) {
  const double value = init.kind == Init::Kind::constant ? init.scale : 0;
  Variable variable(Tensor::full(shape, value), true);
  parameters_.push_back({name, variable, layout, init});
  return variable;
}

Tensor& Module::buffer(const std::string& name, Tensor value) {
  buffers_.emplace_back(name, std::make_unique<Tensor>(std::move(value)));
  return *buffers_.back().second;
}

}  // namespace nextgrad
