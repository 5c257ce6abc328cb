// Fusion is pulled: some ops leave a recipe instead of a value, and whoever asks for the value
// looks at how it would be made. A table of rules (fuse.cpp) then picks one op for several where
// the backend has it. A model says x + drop_path(scale * conv(gelu(y))) and never hears of it.
#pragma once

#include <variant>
#include <vector>

#include "autograd/variable.h"

namespace nextgrad {

// The ops that wait. Shapes and dtypes were checked when the recipe was made.
struct LinearRecipe {
  Variable x, weight, bias;  // x weight^T + bias
};
struct ActivateRecipe {
  Variable x;
  Activation f;
};
struct DepthwiseRecipe {
  Variable x, weight, bias;
  Window window;
};
struct ConvRecipe {
  Variable x, weight, bias;
  Window window;
  int groups;
};
// x scale[c] + shift[c], constants both, where nothing records: what reads or makes x may do it on
// its weights.
struct AffineRecipe {
  Variable x, scale, shift;
};
struct GateRecipe {  // a b, of one shape
  Variable a, b;
};
// Maps [N,h_i,w_i,C_i], resized to one size, beside each other.
struct JoinRecipe {
  std::vector<Variable> parts;
  std::int64_t h, w;
};
struct ScaleRecipe {  // mask[n] scale[c] x, one of both undefined
  Variable x, scale;
  Saved mask;
};
struct SumRecipe {
  Variable base, branch;
};
struct SameRecipe {  // x, outside its graph
  Variable x;
};
using Formula =
    std::variant<LinearRecipe, ActivateRecipe, DepthwiseRecipe, ConvRecipe, AffineRecipe,
                 GateRecipe, JoinRecipe, ScaleRecipe, SumRecipe, SameRecipe>;

struct Recipe {
  Formula formula;
  Shape shape;
  DType dtype = DType::f32;
  Device device = {};
  bool grad_enabled, in_first_run;  // when it was made; in the first run of recomputed()
  bool records = false;             // the result will have a gradient
  int depth = 1;                    // of recipes in recipes
  struct Input {                    // and its value, if it was there already
    const Variable::Impl* variable;
    Saved value;
  };
  std::vector<Input> inputs = {};
};

// A variable of that shape, of its first input's dtype and device, that is computed when its value
// is asked for, as if it had been computed here: an input that is changed in place until then makes
// that throw. No value is computed twice: a recipe goes into another only if nobody else holds it,
// so that ops take their inputs by value and move them on.
Variable uncooked(Formula formula, const Shape& shape);

// Whether v waits as a product, whose weights may take over what is done to it.
bool is_waiting_product(const Variable& v);

// The value, computed now if it was not yet; a sum of a residual connection leaves in `moments`
// what batch_norm() of the value can use (Backend::residual), if its backend can.
const Tensor& cook(const Variable& v, Tensor* moments = nullptr);

// While one lives, ops of this thread are computed one by one as they are called: what all fusions
// are tested against.
class NoFusion {
 public:
  NoFusion();
  ~NoFusion();
  NoFusion(const NoFusion&) = delete;
  NoFusion& operator=(const NoFusion&) = delete;

 private:
  bool before_;
};

}  // namespace nextgrad
