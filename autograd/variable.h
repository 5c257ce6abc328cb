// Variable: a Tensor plus its place in the graph of the computation that made it. Reverse mode: an
// op on Variables records a node with its backward; backward() walks the nodes in reverse order of
// creation, frees what each saved as soon as it is done, and accumulates gradients in place.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "tensor/backend.h"
#include "tensor/tensor.h"

namespace nextgrad {

struct Node;

// A handle: copies share the value, the gradient and the place in the graph.
class Variable {
 public:
  Variable() = default;  // undefined
  // A leaf. Only a leaf that requires a gradient keeps one.
  explicit Variable(Tensor value, bool requires_grad = false);

  bool defined() const { return impl_ != nullptr; }
  // The numbers; throws if undefined. Some ops leave their result to be computed here, when
  // somebody asks for it: it may then be computed together with what it is made of (fuse.h).
  const Tensor& value() const;
  double item() const { return value().item(); }

  // Known without the numbers.
  Shape shape() const;
  std::int64_t dim(int axis) const;
  int ndim() const { return shape().size(); }
  std::int64_t numel() const { return shape().numel(); }
  DType dtype() const;
  Device device() const;
  Backend& backend() const { return backend_of(device()); }

  bool requires_grad() const;  // a leaf that asks for one, or computed from such

  // The accumulated gradient of a leaf (or of any variable after retain_grad()); undefined before
  // the first backward. No other tensor shares its storage, unless set_grad() put it there.
  const Tensor& grad() const;
  void set_grad(Tensor grad);
  void zero_grad();          // forgets it
  void retain_grad() const;  // keep this inner variable's gradient too
  // Of a leaf: from now on every backward calls `call` (if it is not empty) once it has added all
  // to its gradient, while it goes on with the rest of the graph.
  void on_complete(std::function<void()> call) const;

  // Gradients of this variable (times `seed`, which defaults to 1 for a single element) with
  // respect to every leaf it came from, added to theirs. The graph is freed as it goes unless
  // `retain_graph`; a second backward through a freed graph throws, and so does one that needs a
  // tensor changed in place since.
  void backward(const Tensor& seed = {}, bool retain_graph = false) const;

  Variable detach() const;  // same value, outside the graph
  // Replaces the value of a leaf, in place where other handles see it: shape and dtype may change.
  void set_value(Tensor value) const;

  struct Impl;

 private:
  friend Variable record(const char*, Variable, const std::vector<Variable>&,
                         std::function<std::vector<Tensor>(const Tensor&)>,
                         std::function<Tensor()>);
  friend class Saved;
  friend class InnerGraph;
  friend class Cook;  // fuse.cpp
  std::shared_ptr<Impl> impl_;
};

// The backward of an op: from dL/dy to dL/dx for each input, in the order they were recorded with;
// an undefined tensor means no gradient. Called once (unless the graph is retained).
using Backward = std::function<std::vector<Tensor>(const Tensor& dy)>;

// Within an op's backward: what other uses of its input number `i` have already given, if that is
// there, contiguous, and nobody else's; else undefined. The op then returns its own gradient added
// to it, which one pass can do.
Tensor take_arrived(std::size_t i);

// Makes a value again that is cheap to compute from what its own backward keeps anyway: a batch
// norm's output from its input and statistics, GELU's from its input. An op that passes one to
// record() lets later ops keep it instead of the value, which saves memory for the time of one more
// pass in the backward. What it captures must be Saved.
using Remake = std::function<Tensor()>;
// All that saved one value share it when it is made again; it goes with the last of them.
struct Remade {
  Remake make;
  Tensor value;
};

// Wraps the result of an op. If gradients are enabled and any input needs one, the result gets a
// node that remembers the inputs' nodes (not their values) and `backward`, and `remake` if given.
// `result` is a new variable that nobody else holds.
Variable record(const char* name, Variable result, const std::vector<Variable>& inputs,
                Backward backward, Remake remake = nullptr);
inline Variable record(const char* name, Tensor value, const std::vector<Variable>& inputs,
                       Backward backward, Remake remake = nullptr) {
  return record(name, Variable(std::move(value)), inputs, std::move(backward), std::move(remake));
}

// A tensor that a backward needs, with its version: get() throws if it was changed in place. All
// that a backward captures is Saved. An input is saved through its Variable, so that it can be made
// again; results, statistics, masks and labels as tensors:
//
//   const Tensor in = x.value().contiguous(), y = softmax(in);
//   record("op", y, {x}, [in = Saved(x, in), y = Saved(y)](const Tensor& dy) { ... in.get() ... });
class Saved {
 public:
  Saved() = default;
  explicit Saved(Tensor tensor) : tensor_(std::move(tensor)), version_(tensor_.version()) {}
  explicit Saved(const Variable& v) : Saved(v, v.defined() ? v.value() : Tensor()) {}
  // The value of v as the op uses it, contiguous and perhaps reshaped: kept, or, if v has a Remake,
  // made again at the first get(), in the same shape.
  Saved(const Variable& v, const Tensor& used);
  const Tensor& get() const;

 private:
  mutable Tensor tensor_;
  std::uint64_t version_ = 0;
  std::shared_ptr<Remade> remade_;
  Shape shape_;  // of what is made again
};

// A piece of graph that a node's backward records and goes through at once (recompute.h). What it
// reaches and was there before it (parameters, values computed outside) receives its share through
// the backward that is running, when its turn comes.
class InnerGraph {
 public:
  InnerGraph();  // what is recorded from now on belongs to it
  void backward(const Variable& y, const Tensor& seed) const;

 private:
  std::uint64_t first_;
};

// While one lives, keeps every value with a gradient that the ops of this thread read, with its
// version, though they may record nothing.
class Watch {
 public:
  Watch();
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  static Watch* active();  // the latest of this thread, or null
  std::vector<Saved> seen;

 private:
  Watch* before_;
};

// While one lives, ops of this thread record or do not.
class GradMode {
 public:
  explicit GradMode(bool records);
  ~GradMode();
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  bool before_;
};
struct NoGrad : GradMode {
  NoGrad() : GradMode(false) {}
};
struct EnableGrad : GradMode {  // inside a NoGrad
  EnableGrad() : GradMode(true) {}
};
bool grad_enabled();

}  // namespace nextgrad
