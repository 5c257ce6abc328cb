// Module: a part of a model with named parameters, buffers and child modules. Flat names are
// PyTorch's: own tensors first, then the children in order of declaration, joined by dots.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/variable.h"
#include "nn/init.h"

namespace nextgrad {

// How a parameter lies in memory, so that a file can hold it in PyTorch's layout.
enum class Layout {
  plain,     // as PyTorch has it
  conv,      // [O,kh,kw,I/groups] here, [O,I/groups,kh,kw] in PyTorch
  depthwise  // [kh,kw,C] here, [C,1,kh,kw] in PyTorch
};
Tensor to_torch_layout(const Tensor& t, Layout layout);    // a view where possible
Tensor from_torch_layout(const Tensor& t, Layout layout);  // the inverse
Shape torch_shape(const Shape& shape, Layout layout);      // extents after to_torch_layout

struct Parameter {
  std::string name;  // full name, "backbone.norm1.weight"
  Variable value;    // requires a gradient
  Layout layout = Layout::plain;
  Init init;
};
struct Buffer {  // state that is saved but not learned: running statistics
  std::string name;
  Tensor* value = nullptr;  // stays valid while the module lives
};

class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  // The usual one-input forward; throws for a module that has none.
  virtual Variable forward(Variable x) const;
  Variable operator()(Variable x) const { return forward(std::move(x)); }

  std::vector<Parameter> named_parameters() const;  // in PyTorch's order
  std::vector<Buffer> named_buffers() const;
  std::vector<std::pair<std::string, const Module*>> named_modules() const;  // "" is this one
  std::int64_t parameter_count() const;

  // Training mode (the default) or evaluation, for this module and all below.
  void train(bool on = true);
  void eval() { train(false); }
  bool training() const { return training_; }

  void to(DType dtype);    // parameters and floating buffers; f32 or f64
  void to(Device device);  // parameters and floating buffers; counters stay on the host
  void zero_grad();        // forgets all gradients
  Device device() const;   // of the first parameter

 protected:
  // Declares a parameter; its value is `init`'s constant, or 0 until init_parameters() draws it.
  Variable parameter(const std::string& name, const Shape& shape, const Init& init,
                     Layout layout = Layout::plain);
  Tensor& buffer(const std::string& name, Tensor value);
  // Declares and owns a child: `Conv2d& conv0 = child<Conv2d>("conv0", options)`. A dot in its name
  // stands for a module of PyTorch's that only holds others.
  template <class M, class... Args>
  M& child(const std::string& name, Args&&... args) {
    return own(name, std::make_unique<M>(std::forward<Args>(args)...));
  }
  // The same of a module that is there; its names go without prefix if `name` is empty.
  template <class M>
  M& own(const std::string& name, std::unique_ptr<M> module) {
    M& reference = *module;
    children_.emplace_back(name, std::move(module));
    return reference;
  }

 private:
  std::vector<Parameter> parameters_;
  std::vector<std::pair<std::string, std::unique_ptr<Tensor>>> buffers_;
  std::vector<std::pair<std::string, std::unique_ptr<Module>>> children_;
  bool training_ = true;
};

}  // namespace nextgrad
