#include "autograd/fuse.h"

#include <algorithm>
#include <tuple>

#include "autograd/arithmetic.h"
#include "autograd/checks.h"
#include "autograd/conv.h"
#include "autograd/fold.h"
#include "autograd/fused.h"
#include "autograd/matmul.h"
#include "autograd/node.h"
#include "autograd/shape_ops.h"

namespace nextgrad {

namespace {

// A longer chain of recipes is computed at once, so that neither the stack nor what waits grows.
constexpr int kMostDepth = 20;

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
auto inputs_of(const ConvRecipe& r) {
  return std::tie(r.x, r.weight, r.bias);
}
auto inputs_of(const AffineRecipe& r) {
  return std::tie(r.x, r.scale, r.shift);
}
auto inputs_of(const GateRecipe& r) {
  return std::tie(r.a, r.b);
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

template <class R, class Fn>
void for_each_input(const R& r, const Fn& fn) {
  std::apply([&](const auto&... v) { (fn(v), ...); }, inputs_of(r));
}
template <class Fn>
void for_each_input(const JoinRecipe& r, const Fn& fn) {
  for (const Variable& part : r.parts) fn(part);
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
  // The recipe of v, of that kind, which was made under the same rules.
  template <class R>
  const R* found(const Variable& v) const {
    const Recipe* r = recipe(v);
    if (r == nullptr || r->grad_enabled != root_.grad_enabled ||
        r->in_first_run != root_.in_first_run)
      return nullptr;
    const R* of_kind = std::get_if<R>(&r->formula);
    if (of_kind != nullptr) check_inputs(*r);
    return of_kind;
  }
  // And which nobody else holds.
  template <class R>
  const R* sole(const Variable& v) const {
    return v.defined() && v.impl_.use_count() == 1 ? found<R>(v) : nullptr;
  }
  static void check_inputs(const Recipe& recipe);
  // What the first run of recomputed() computes must be what the second, which records, will.
  bool folds() const { return !root_.records && !root_.in_first_run; }

  // A linear layer, what is affine before and after it folded into its weights.
  struct Linear {
    const Variable* input = nullptr;  // null: there is none
    Variable of_affine = {};          // what that is a map of, instead
    Weights w = {};
    explicit operator bool() const { return input != nullptr; }
    const Variable& x() const { return of_affine.defined() ? of_affine : *input; }
  };
  Linear linear_of(const Variable& v) const {
    const auto* after = folds() ? sole<AffineRecipe>(v) : nullptr;
    const auto* l = sole<LinearRecipe>(after != nullptr ? after->x : v);
    if (l == nullptr) return {};
    Linear found = folded(*l);
    if (after != nullptr) found.w = fold_output(found.w, after->scale, after->shift);
    return found;
  }
  // Others may hold what is affine before it: nothing is computed twice.
  Linear folded(const LinearRecipe& r) const {
    Linear l{.input = &r.x, .w = {r.weight, r.bias}};
    if (const auto* before = folds() ? found<AffineRecipe>(r.x) : nullptr) {
      l.w = fold_input(l.w, before->scale, before->shift);
      l.of_affine = before->x;
    }
    return l;
  }

  Variable make(const LinearRecipe& r) const {
    const Linear l = folded(r);
    return product(l.x(), l.w, Activation::none);
  }
  Variable make(const ActivateRecipe& r) const {
    if (const Linear l = linear_of(r.x)) return product(l.x(), l.w, r.f);
    return elementwise(unary_of(r.f), r.x);
  }
  Variable make(const ConvRecipe& r) const {
    return conv2d_at_once(r.x, r.weight, r.bias, r.window, r.groups);
  }
  Variable make(const AffineRecipe& r) const {
    if (const auto* l = sole<LinearRecipe>(r.x)) {
      const Linear in = folded(*l);
      return product(in.x(), fold_output(in.w, r.scale, r.shift), Activation::none);
    }
    if (const auto* c = sole<ConvRecipe>(r.x)) {
      const Weights w = fold_output({c->weight, c->bias}, r.scale, r.shift);
      return conv2d_at_once(c->x, w.weight, w.bias, c->window, c->groups);
    }
    const Tensor x = r.x.value().contiguous();
    return Variable(x.backend().channel_affine(x, r.scale.value(), r.shift.value(), {}));
  }
  Variable make(const DepthwiseRecipe& r) const {
    return depthwise_conv2d(r.x, r.weight, r.bias, r.window, {});
  }
  Variable make(const JoinRecipe& r) const {
    std::vector<Variable> parts;
    for (const Variable& part : r.parts) parts.push_back(resized(part, r));
    return parts.size() == 1 ? parts.front() : concat(parts, 3);
  }
  static Variable resized(const Variable& part, const JoinRecipe& to) {
    return part.dim(1) == to.h && part.dim(2) == to.w ? part : resize(part, to.h, to.w);
  }
  Variable make(const GateRecipe& r) const {
    const Linear l = folds() && root_.shape.numel() > 0 ? linear_of(r.a) : Linear();
    if (!l) return elementwise(Binary::mul, r.a, r.b);
    const std::int64_t rows = root_.shape.numel() / r.b.dim(-1);
    const Tensor y = r.b.backend().linear_gate(
        r.b.value().reshape({rows, r.b.dim(-1)}), l.x().value().reshape({rows, l.x().dim(-1)}),
        l.w.weight.value().contiguous(), value_or_none(l.w.bias));
    return Variable(y.reshape(root_.shape));
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
  Variable product(const Variable& x, const Weights& w, Activation f) const {
    const auto* join = sole<JoinRecipe>(x);
    if (join == nullptr) return linear(x, w.weight, w.bias, f);
    const Variable y = at_own_sizes(*join, w);
    return f == Activation::none ? y : elementwise(unary_of(f), y);
  }
  Variable at_own_sizes(const JoinRecipe& join, const Weights& w) const;
  Variable as_feed_forward(const Variable& base, const Linear& l, const Variable& scale,
                           const Tensor& mask) const;
  Variable evaluated(const Variable& base, Linear l, const Variable& scale, Tensor* moments) const;

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
          v.value.shape());
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
    if (const Linear l = linear_of(s->branch)) {  // s (p + q) = s p + s q
      l.x().value();                              // first: it takes more memory than the sum
      if (!folds() || mask.defined())
        return linear_residual(base, l.x(), l.w.weight, l.w.bias, Activation::none, scale, mask,
                               moments, s->base);
      return add(add(base, s->base, scale, mask, nullptr), s->branch, scale, mask, moments);
    }
  if (const auto* a = sole<AffineRecipe>(branch);
      a != nullptr && !mask.defined() && &impl(a->x) == &impl(base)) {
    const auto [own, shift] = fold_residual(a->scale, a->shift, scale);
    const Shape shape = base.shape();
    return uncooked(AffineRecipe{base, own, shift}, shape);
  }
  if (const Linear l = linear_of(branch)) {
    if (folds() && !mask.defined()) return evaluated(base, l, scale, moments);
    if (const Variable y = as_feed_forward(base, l, scale, mask); y.defined()) return y;
    const auto* a = sole<ActivateRecipe>(l.x());
    return linear_residual(base, a != nullptr ? a->x : l.x(), l.w.weight, l.w.bias,
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

// W [p q] = W_p p + W_q q, and a product of channels and resizing may change places: each part is
// multiplied while it is small. The one of the full size comes last, onto the others' sum.
Variable Cook::at_own_sizes(const JoinRecipe& join, const Weights& w) const {
  std::vector<std::pair<Variable, Variable>> full;  // parts and their columns of W
  Variable sum, bias = w.bias;
  std::int64_t at = 0;
  for (const Variable& part : join.parts) {
    const std::int64_t from = std::exchange(at, at + part.dim(3));
    const Variable columns =
        folds() ? kept_columns(w.weight, from, at) : slice(w.weight, 1, from, at);
    if (part.dim(1) == join.h && part.dim(2) == join.w) {
      full.emplace_back(part, columns);
      continue;
    }
    const Variable own = linear(part, columns, std::exchange(bias, Variable()), Activation::none);
    const Variable y = resize(own, join.h, join.w);
    sum = sum.defined() ? elementwise(Binary::add, sum, y) : y;
  }
  for (const auto& [part, columns] : full)
    sum = sum.defined() ? linear_residual(sum, part, columns, std::exchange(bias, Variable()),
                                          Activation::none)
                        : linear(part, columns, std::exchange(bias, Variable()), Activation::none);
  return sum;
}

// base + mask scale (l (gelu (3x3 (linear)))): a whole feed-forward branch, where nothing records,
// or where its backward does well without its hidden maps. Undefined if it is something else.
Variable Cook::as_feed_forward(const Variable& base, const Linear& l, const Variable& scale,
                               const Tensor& mask) const {
  const auto* a = sole<ActivateRecipe>(l.x());
  const auto* d = a != nullptr && a->f == Activation::gelu ? sole<DepthwiseRecipe>(a->x) : nullptr;
  if (d == nullptr || !keeps_size(d->window, 3, 3)) return {};
  const Linear first = linear_of(d->x);
  if (!first) return {};
  Weights last = l.w;
  if (folds() && scale.defined()) last = fold_output(last, scale);
  const FeedForwardVariables f{first.w.weight, first.w.bias, d->weight,
                               d->bias,        last.weight,  last.bias};
  if (folds()) return feed_forward(base, first.x(), f, {}, mask);
  const Tensor x = first.x().value();
  if (!x.backend().trains_feed_forward(
          x, {f.expand.value(), {}, f.taps.value(), {}, f.contract.value(), {}}))
    return {};
  return feed_forward(base, first.x(), f, scale, mask);
}

// base + scale (l (x)) where nothing records.
Variable Cook::evaluated(const Variable& base, Linear l, const Variable& scale,
                         Tensor* moments) const {
  if (const Variable y = as_feed_forward(base, l, scale, {}); y.defined()) return y;
  const auto* a = sole<ActivateRecipe>(l.x());
  const auto* of_base = scale.defined() ? sole<AffineRecipe>(base) : nullptr;
  if (scale.defined())
    l.w = fold_output(l.w, scale, of_base != nullptr ? of_base->shift : Variable());
  const Variable& x = a != nullptr ? a->x : l.x();
  const Tensor in = x.value().contiguous();
  return Variable(
      x.backend().linear_residual((of_base != nullptr ? of_base->x : base).value().contiguous(), in,
                                  {.weight = l.w.weight.value().contiguous(),
                                   .bias = value_or_none(l.w.bias),
                                   .input = a != nullptr ? a->f : Activation::none},
                                  moments, of_base != nullptr ? of_base->scale.value() : Tensor()));
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
  bool first = true;
  const auto take = [&](const Variable& v) {
    if (std::exchange(first, false)) {
      r.dtype = v.dtype();
      r.device = v.device();
    }
    add(v);
  };
  std::visit([&](const auto& of) { for_each_input(of, take); }, r.formula);
  if (std::holds_alternative<SameRecipe>(r.formula)) r.records = false;
  const bool at_once = !fusing || r.depth > kMostDepth;
  Variable result{Tensor()};
  Cook::impl(result).recipe = std::make_shared<Recipe>(std::move(r));
  if (at_once) cook(result);
  return result;
}

bool is_waiting_product(const Variable& v) {
  const Recipe* r = Cook::recipe(v);
  return r != nullptr && (std::holds_alternative<LinearRecipe>(r->formula) ||
                          std::holds_alternative<ConvRecipe>(r->formula));
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
      impl.remade = made.remade;
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
