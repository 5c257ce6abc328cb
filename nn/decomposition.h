// The Hamburger's "ham": low-rank reconstruction of a feature map by an optimisation algorithm
// unrolled as a layer (Geng et al. 2021, "Is attention better than matrix decomposition?").
// X [D,N] is approximated by bases [D,R] times coefficients^T [R,N].
#pragma once

#include "nn/module.h"

namespace nextgrad {

struct DecompositionOptions {
  enum class Kind { nmf, vq, cd };  // non-negative factors, soft vector quantisation, concepts
  enum class Gradient {
    unrolled,  // through all iterations (Guo et al. 2022)
    one_step   // iterations are constants, the last coefficients are differentiated (Geng et al.)
  };
  Kind kind = Kind::nmf;
  Gradient gradient = Gradient::unrolled;
  int groups = 1;       // S: channels are split into S groups, each with its own bases
  bool spatial = true;  // X is [channels / S, H W]; otherwise [H W, channels / S]
  int rank = 16;        // R
  int train_steps = 6, eval_steps = 7;
  double inv_t = 0;   // inverse temperature of the softmax; 0: as published, nmf 1, vq and cd 100
  double beta = 0.1;  // cd: ridge of the last least-squares fit

  bool operator==(const DecompositionOptions&) const = default;
};

// The first bases are random: drawn per sample in training, fixed and the same for every sample in
// evaluation, so that a prediction depends on its image alone. All options go with all kinds, but
// `beta` with cd alone. The input of nmf must not be negative (a ReLU before it sees to that):
// nothing checks it, and the factors would lose their meaning, not their finiteness. The
// constructor throws for groups or rank below 1, forward unless groups divides the channels and for
// bases set in another shape.
class MatrixDecomposition : public Module {
 public:
  explicit MatrixDecomposition(const DecompositionOptions& options);
  // x [B,H,W,C] -> its reconstruction, same shape.
  Variable forward(Variable x) const override;
  // Uses these initial bases [B*S,D,R] in every forward (tests); undefined goes back to the rule.
  void set_bases(Tensor bases) { fixed_ = std::move(bases); }
  const DecompositionOptions& options() const { return options_; }

 private:
  struct Factors {
    Variable bases, coef;  // [B*S,D,R], [B*S,N,R]
  };
  Variable rows(const Variable& x) const;                          // [B,H,W,C] -> X^T [B*S,N,D]
  Variable image(const Variable& rows, const Shape& shape) const;  // the inverse
  Variable initial_bases(const Variable& rows) const;
  Variable factored(const Variable& x) const;  // nmf, whole
  int steps() const { return training() ? options_.train_steps : options_.eval_steps; }
  Factors iterate(const Variable& rows, const Variable& bases) const;
  Factors step(const Variable& rows, const Factors& f) const;
  Variable coefficients(const Variable& rows, const Factors& f) const;  // the last, differentiated

  DecompositionOptions options_;
  Tensor fixed_;
};

}  // namespace nextgrad
