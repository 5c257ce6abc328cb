#include "autograd/fuse.h"

#include <algorithm>
#include <tuple>

#include "autograd/arithmetic.h"
#include "autograd/conv.h"
#include "autograd/fused.h"
#include "autograd/matmul.h"
#include "autograd/node.h"
#include "autograd/shape_ops.h"

namespace nextgrad {

namespace {

// A longer chain of recipes is computed at once, so that neither the stack nor what waits grows.
constexpr int kMostDepth = 12;

thread_local bool fusing = true;

auto inputs_of(const LinearRecipe& r) {
  return std::tie(r.x, r.weight, r.bias);
}
auto inputs_of(const ActivateRecipe& r) {
  return std::tie(r.x);
}
auto inputs_of(const DepthwiseRecipe& r) {
  return std::tie(r.x, r.weight, r.bias);
}
auto inputs_of(const ScaleRecipe& r) {
  return std::tie(r.x, r.scale);
}
auto inputs_of(const SumRecipe& r) {
  return std::tie(r.base, r.branch);
}
auto inputs_of(const SameRecipe& r) {
  return std::tie(r.x);
}

// k taps in one direction or both, the size kept.
bool keeps_size(const Window& w, int kh, int kw) {
  return w.kh == kh && w.kw == kw && kh % 2 == 1 && kw % 2 == 1 && w.pad_h == kh / 2 &&
         w.pad_w == kw / 2 && w.stride_h == 1 && w.stride_w == 1 && w.dilation_h == 1 &&
         w.dilation_w == 1;
}

}  // namespace

// Computes one variable by the first rule that fits.
class Cook {
 public:
  Cook(const Recipe& recipe, Tensor* moments) : root_(recipe), moments_(moments) {}
  static Variable::Impl& impl(const Variable& v) { return *v.impl_; }
  static const Recipe* recipe(const Variable& v) {
    return v.defined() ? v.impl_->recipe.get() : nullptr;
  }
  Variable operator()() const {
    check_inputs(root_);
    return std::visit([this](const auto& r) { return make(r); }, root_.formula);
  }

 private:
  // The recipe of v, of that kind, which nobody else holds and which was made under the same rules.
  template <class R>
  const R* sole(const Variable& v) const {
    const Recipe* r = recipe(v);
    if (r == nullptr || v.impl_.use_count() != 1 || r->grad_enabled != root_.grad_enabled ||
        r->in_first_run != root_.in_first_run)
      return nullptr;
    const R* found = std::get_if<R>(&r->formula);
    if (found != nullptr) check_inputs(*r);
    return found;
  }
  static void check_inputs(const Recipe& recipe);

  Variable make(const LinearRecipe& r) const {
    return linear(r.x, r.weight, r.bias, Activation::none);
  }
  Variable make(const ActivateRecipe& r) const {
    if (const auto* l = sole<LinearRecipe>(r.x)) return linear(l->x, l->weight, l->bias, r.f);
    return elementwise(unary_of(r.f), r.x);
  }
  Variable make(const DepthwiseRecipe& r) const {
    return depthwise_conv2d(r.x, r.weight, r.bias, r.window, {});
  }
  Variable make(const ScaleRecipe& r) const {
    if (const Tensor mask = r.mask.get(); mask.defined()) {
      Shape shape = mask.shape();
      while (shape.size() < r.x.ndim()) shape.push_back(1);
      return apply_mask(r.x, mask.reshape(shape));
    }
    return elementwise(Binary::mul, r.x, cast(r.scale, r.x.dtype()));
  }
  Variable make(const SameRecipe& r) const { return Variable(cook(r.x, moments_)); }
  Variable make(const SumRecipe& r) const {
    if (const Variable y = as_strips(r); y.defined()) return y;
    const bool turned = recipe(r.branch) == nullptr && recipe(r.base) != nullptr;
    return turned ? add(r.branch, r.base, {}, {}, moments_)
                  : add(r.base, r.branch, {}, {}, moments_);
  }

  Variable add(const Variable& base, const Variable& branch, const Variable& scale,
               const Tensor& mask, Tensor* moments) const;
  Variable as_strips(const SumRecipe& sum) const;
  Variable as_feed_forward(const Variable& base, const LinearRecipe& last,
                           const Variable& scale) const;

  const Recipe& root_;
  Tensor* moments_;
};

void Cook::check_inputs(const Recipe& recipe) {
  for (const Recipe::Input& input : recipe.inputs) {
    const Variable::Impl& v = *input.variable;
    const Tensor& was = input.value.get();  // throws if it was changed in place
    check(was.defined() ? v.value.shares_storage(was)
                        : v.recipe != nullptr || v.value.version() == v.version,
          "a variable {} was replaced or changed in place before what was made of it had been "
          "computed; ask for that value() before the change",
          v.value.shape().str());
  }
}

// base + mask[n] scale[c] branch; scale and mask are what has been taken off the branch so far.
Variable Cook::add(const Variable& base, const Variable& branch, const Variable& scale,
                   const Tensor& mask, Tensor* moments) const {
  if (const auto* s = sole<ScaleRecipe>(branch);
      s != nullptr && (s->scale.defined() ? !scale.defined() : !mask.defined()))
    return s->scale.defined() ? add(base, s->x, s->scale, mask, moments)
                              : add(base, s->x, scale, s->mask.get(), moments);
  if (const auto* s = sole<SumRecipe>(branch); s != nullptr && (scale.defined() || mask.defined()))
    if (const auto* l = sole<LinearRecipe>(s->branch)) {  // s (p + q) = s p + s q
      l->x.value();  // first: it takes more memory than the sum
      return add(add(base, s->base, scale, mask, nullptr), s->branch, scale, mask, moments);
    }
  if (const auto* l = sole<LinearRecipe>(branch)) {
    if (!mask.defined())
      if (const Variable y = as_feed_forward(base, *l, scale); y.defined()) return y;
    const auto* a = sole<ActivateRecipe>(l->x);
    return linear_residual(base, a != nullptr ? a->x : l->x, l->weight, l->bias,
                           a != nullptr ? a->f : Activation::none, scale, mask, moments);
  }
  if (scale.defined() || mask.defined() || moments != nullptr)
    return residual(base, branch, scale, mask, moments);
  if (const auto* d = sole<DepthwiseRecipe>(branch))
    return depthwise_conv2d(d->x, d->weight, d->bias, d->window, base);
  return elementwise(Binary::add, base, branch);
}

// x + sum of k x 1 (1 x k (x)): several strips of one x. Undefined if it is something else.
Variable Cook::as_strips(const SumRecipe& sum) const {
  std::vector<StripVariables> strips;
  std::vector<Variable> read;
  const SumRecipe* s = &sum;
  for (const SumRecipe* next = s; next != nullptr; next = sole<SumRecipe>(s->base)) {
    s = next;
    const auto* column = sole<DepthwiseRecipe>(s->branch);
    const auto* row = column != nullptr ? sole<DepthwiseRecipe>(column->x) : nullptr;
    if (row == nullptr || !keeps_size(row->window, 1, row->window.kw) ||
        !keeps_size(column->window, row->window.kw, 1))
      return {};
    strips.insert(strips.begin(), {row->weight, row->bias, column->weight, column->bias});
    read.push_back(row->x);
  }
  const auto same = [&](const Variable& x) { return &impl(x) == &impl(s->base); };
  return std::ranges::all_of(read, same) ? nextgrad::strips(s->base, strips) : Variable();
}

// base + scale (linear (gelu (3x3 (linear (x))))), which has no backward. What the first
// run of recomputed() computes must be what the second, which records, will.
Variable Cook::as_feed_forward(const Variable& base, const LinearRecipe& last,
                               const Variable& scale) const {
  if (root_.records || root_.in_first_run) return {};
  const auto* a = sole<ActivateRecipe>(last.x);
  const auto* d = a != nullptr && a->f == Activation::gelu ? sole<DepthwiseRecipe>(a->x) : nullptr;
  const auto* first =
      d != nullptr && keeps_size(d->window, 3, 3) ? sole<LinearRecipe>(d->x) : nullptr;
  if (first == nullptr) return {};
  return feed_forward(base, first->x,
                      {first->weight, first->bias, d->weight, d->bias, last.weight, last.bias},
                      scale);
}

Variable uncooked(Formula formula, const Shape& shape) {
  Recipe r{.formula = std::move(formula),
           .shape = shape,
           .grad_enabled = grad_enabled(),
           .in_first_run = Watch::active() != nullptr};
  const auto add = [&](const Variable& v) {
    if (!v.defined()) return;
    if (v.requires_grad() && Watch::active() != nullptr) {
      Watch::active()->seen.emplace_back(v.value());
      note_use(*Cook::impl(v).node, next_order());
    }
    r.records |= r.grad_enabled && v.requires_grad();
    const Recipe* inner = Cook::recipe(v);
    if (inner != nullptr) r.depth = std::max(r.depth, inner->depth + 1);
    r.inputs.push_back({&Cook::impl(v), inner != nullptr ? Saved() : Saved(v.value())});
  };
  const auto add_all = [&](const auto& of) {
    const auto inputs = inputs_of(of);
    r.dtype = std::get<0>(inputs).dtype();
    r.device = std::get<0>(inputs).device();
    std::apply([&](const auto&... v) { (add(v), ...); }, inputs);
  };
  std::visit(add_all, r.formula);
  if (std::holds_alternative<SameRecipe>(r.formula)) r.records = false;
  const bool at_once = !fusing || r.depth > kMostDepth;
  Variable result{Tensor()};
  Cook::impl(result).recipe = std::make_shared<Recipe>(std::move(r));
  if (at_once) cook(result);
  return result;
}

const Tensor& cook(const Variable& v, Tensor* moments) {
  Variable::Impl& impl = Cook::impl(v);
  if (impl.recipe == nullptr) return impl.value;
  {
    const GradMode mode(impl.recipe->grad_enabled);
    const Variable y = Cook(*impl.recipe, moments)();
    const Variable::Impl& made = Cook::impl(y);
    impl.value = made.value;
    impl.version = made.value.version();
    if (impl.node == nullptr) {
      impl.node = made.node;
      impl.remake = made.remake;
    }
  }
  impl.recipe.reset();
  return impl.value;
}

NoFusion::NoFusion() : before_(std::exchange(fusing, false)) {}
NoFusion::~NoFusion() {
  fusing = before_;
}

}  // namespace nextgrad
