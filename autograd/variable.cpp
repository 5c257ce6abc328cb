#include "autograd/variable.h"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <map>
#include <tuple>

#include "autograd/fuse.h"
#include "autograd/node.h"

namespace nextgrad {

// Chains of nodes are as deep as the net: unlink them one by one, not by recursion.
Node::~Node() {
  std::vector<std::shared_ptr<Node>> stack = std::move(inputs);
  while (!stack.empty()) {
    const std::shared_ptr<Node> node = std::move(stack.back());
    stack.pop_back();
    if (node != nullptr && node.use_count() == 1) {
      std::move(node->inputs.begin(), node->inputs.end(), std::back_inserter(stack));
      node->inputs.clear();
    }
  }
}

std::uint64_t next_order() {
  static std::atomic<std::uint64_t> counter{0};
  return ++counter;
}

void note_use(Node& node, std::uint64_t order) {
  if (node.leaf && node.first_use == 0) node.first_use = order;
}

namespace {

thread_local bool grad_on = true;
thread_local Watch* watching = nullptr;
thread_local const Node* in_backward = nullptr;  // of which node

// sum += g. A tensor that nobody else holds is added to in place.
void accumulate(Tensor& sum, Tensor g) {
  if (!sum.defined()) {
    sum = std::move(g);
  } else if (sum.sole_owner()) {
    sum.add_(g);
  } else if (g.sole_owner()) {
    g.add_(sum);
    sum = std::move(g);
  } else {
    sum = sum.clone();
    sum.add_(g);
  }
}

// To be kept as a gradient: whoever changes it in place must change nobody else's.
Tensor unshared(Tensor g) {
  return g.sole_owner() ? std::move(g) : g.clone();
}

// One run backwards through the nodes from `first` on, the latest first: all that used a value are
// younger than it, so that its gradient is whole when its turn comes, once; a leaf's comes right
// after its earliest use. Nodes before `first` are left to the run inside of which this one takes
// place; their turn there is still to come.
class Walk {
 public:
  explicit Walk(std::uint64_t first)
      : first_(first), outer_(std::exchange(innermost(), this)), outside_(in_backward) {}
  ~Walk() {
    for (const auto& [turn, node] : queue_) node->pending = Tensor();  // after an error
    innermost() = outer_;
    in_backward = outside_;
  }
  Walk(const Walk&) = delete;
  Walk& operator=(const Walk&) = delete;

  void add(const std::shared_ptr<Node>& node, Tensor gradient) {
    if (node->order < first_) {
      check(outer_ != nullptr, "an inner graph outside of a backward");
      return outer_->add(node, std::move(gradient));
    }
    accumulate(node->pending, std::move(gradient));
    const bool used = node->leaf && node->first_use > 0;
    queue_.try_emplace(used ? Turn{node->first_use, 0, node->order} : Turn{node->order, 1, 0},
                       node);
  }
  void run(bool retain_graph);

 private:
  // Hands the gradients of one node to its inputs' nodes.
  void pass_on(Node& node, std::vector<Tensor> gradients);
  static Walk*& innermost() {
    thread_local Walk* walk = nullptr;
    return walk;
  }

  std::uint64_t first_;
  Walk* outer_;
  const Node* outside_;  // the node that this walk is part of
  // By order; what is used there first, the node comes before the leaves.
  using Turn = std::tuple<std::uint64_t, int, std::uint64_t>;
  std::map<Turn, std::shared_ptr<Node>> queue_;
};

void Walk::run(bool retain_graph) {
  while (!queue_.empty()) {
    const std::shared_ptr<Node> node = queue_.extract(std::prev(queue_.end())).mapped();
    Tensor gradient = std::exchange(node->pending, Tensor());
    if (node->leaf && !gradient.defined()) continue;  // its first use was found out meanwhile
    if (node->leaf) {                                 // mostly the last to hold it: copies are rare
      if (!node->grad.defined()) gradient = unshared(std::move(gradient));
      accumulate(node->grad, std::move(gradient));
      node->first_use = 0;
      if (node->complete) node->complete();
      continue;
    }
    if (node->retain) accumulate(node->grad, gradient.clone());
    check(!node->freed,
          "{}: a second backward through a graph that the first one freed; pass retain_graph "
          "to the first, or add the losses before one backward",
          node->name);
    in_backward = node.get();
    std::vector<Tensor> gradients = node->backward(gradient);
    in_backward = outside_;
    pass_on(*node, std::move(gradients));
    if (retain_graph) continue;
    node->backward = nullptr;
    node->inputs.clear();
    node->freed = true;
  }
}

void Walk::pass_on(Node& node, std::vector<Tensor> gradients) {
  check(gradients.size() == node.inputs.size(), "{}: backward gave {} gradients for {} inputs",
        node.name, gradients.size(), node.inputs.size());
  for (std::size_t i = 0; i < gradients.size(); ++i)
    if (node.inputs[i] != nullptr && gradients[i].defined())
      add(node.inputs[i], std::move(gradients[i]));
}

}  // namespace

Tensor take_arrived(std::size_t i) {
  check(in_backward != nullptr, "take_arrived outside of a backward");
  const std::shared_ptr<Node>& input = in_backward->inputs.at(i);
  if (input == nullptr || !input->pending.defined() || !input->pending.sole_owner() ||
      !input->pending.is_contiguous())
    return {};
  return std::exchange(input->pending, Tensor());
}

Variable::Variable(Tensor value, bool requires_grad) : impl_(std::make_shared<Impl>()) {
  impl_->value = std::move(value);
  if (!requires_grad) return;
  check(is_floating(dtype()), "a {} tensor has no gradient", name_of(dtype()));
  impl_->node = std::make_shared<Node>();
  impl_->node->order = next_order();
}

const Tensor& Variable::value() const {
  check(defined(), "an undefined variable was used");
  return impl_->recipe ? cook(*this) : impl_->value;
}

Shape Variable::shape() const {
  return defined() && impl_->recipe ? impl_->recipe->shape : value().shape();
}
std::int64_t Variable::dim(int axis) const {
  const Shape of = shape();
  return of[of.axis(axis)];
}
DType Variable::dtype() const {
  return defined() && impl_->recipe ? impl_->recipe->dtype : value().dtype();
}
Device Variable::device() const {
  return defined() && impl_->recipe ? impl_->recipe->device : value().device();
}

bool Variable::requires_grad() const {
  return defined() && (impl_->node != nullptr || (impl_->recipe && impl_->recipe->records));
}

const Tensor& Variable::grad() const {
  static const Tensor none;
  return defined() && impl_->node != nullptr ? impl_->node->grad : none;
}

void Variable::set_grad(Tensor grad) {
  check(requires_grad(), "set_grad: this variable requires no gradient");
  value();
  impl_->node->grad = std::move(grad);
}

void Variable::zero_grad() {
  if (defined() && impl_->node != nullptr) impl_->node->grad = Tensor();
}

void Variable::retain_grad() const {
  check(requires_grad(), "retain_grad: this variable requires no gradient");
  value();
  impl_->node->retain = true;
}

void Variable::on_complete(std::function<void()> call) const {
  check(defined() && impl_->node != nullptr && impl_->node->leaf,
        "on_complete: only a leaf that requires a gradient has a complete one");
  impl_->node->complete = std::move(call);
}

Variable Variable::detach() const {
  if (!defined() || !impl_->recipe) return Variable(value());
  return uncooked(SameRecipe{*this}, shape());
}

void Variable::set_value(Tensor value) const {
  check(defined() && (!requires_grad() || (impl_->node != nullptr && impl_->node->leaf)),
        "set_value: only a leaf's value can be replaced");
  impl_->recipe.reset();
  impl_->value = std::move(value);
}

void Variable::backward(const Tensor& seed, bool retain_graph) const {
  check(requires_grad(), "backward: this variable does not depend on anything with a gradient");
  value();  // so that there is a node
  Tensor start = seed;
  if (!start.defined()) {
    check(shape().numel() == 1, "backward of shape {} needs a seed gradient", shape());
    start = Tensor::full(shape(), 1.0, dtype(), device());
  }
  check(start.shape() == shape() && start.dtype() == dtype(),
        "backward: the seed is {} {}, the variable {} {}", name_of(start.dtype()), start.shape(),
        name_of(dtype()), shape());
  Walk walk(0);
  walk.add(impl_->node, std::move(start));
  walk.run(retain_graph);
}

InnerGraph::InnerGraph() : first_(next_order()) {}

void InnerGraph::backward(const Variable& y, const Tensor& seed) const {
  if (!y.requires_grad()) return;
  y.value();
  Walk walk(first_);
  walk.add(y.impl_->node, seed);
  walk.run(false);
}

Watch::Watch() : before_(std::exchange(watching, this)) {}
Watch::~Watch() {
  watching = before_;
}
Watch* Watch::active() {
  return watching;
}

Variable record(const char* name, Variable result, const std::vector<Variable>& inputs,
                Backward backward, Remake remake) {
  bool needed = false;
  for (const Variable& input : inputs) {
    if (!input.requires_grad() || !(grad_on || watching != nullptr)) continue;
    input.value();  // or it had no node yet
    if (watching != nullptr) watching->seen.emplace_back(input.value());
    needed = grad_on;
  }
  const std::uint64_t order = next_order();
  if (needed || watching != nullptr)
    for (const Variable& input : inputs)
      if (input.requires_grad()) note_use(*input.impl_->node, order);
  if (!needed) return result;
  auto node = std::make_shared<Node>();
  node->name = name;
  node->leaf = false;
  node->backward = std::move(backward);
  for (const Variable& input : inputs)
    node->inputs.push_back(input.requires_grad() ? input.impl_->node : nullptr);
  node->order = order;
  result.impl_->node = std::move(node);
  if (remake) result.impl_->remade = std::make_shared<Remade>(Remade{std::move(remake), {}});
  return result;
}

Saved::Saved(const Variable& v, const Tensor& used) {
  if (v.defined() && v.impl_->remade) {
    remade_ = v.impl_->remade;
    shape_ = used.shape();
  } else {
    *this = Saved(used);
  }
}

const Tensor& Saved::get() const {
  if (remade_ != nullptr) {
    if (!remade_->value.defined()) remade_->value = remade_->make();
    if (!tensor_.defined()) tensor_ = remade_->value.reshape(shape_);
    return tensor_;
  }
  check(
      tensor_.version() == version_,
      "a tensor {} that is still needed, by a backward or for a value that was not asked for yet, "
      "was changed in place; change a clone",
      tensor_.shape());
  return tensor_;
}

GradMode::GradMode(bool records) : before_(std::exchange(grad_on, records)) {}
GradMode::~GradMode() {
  grad_on = before_;
}
bool grad_enabled() {
  return grad_on;
}

}  // namespace nextgrad
