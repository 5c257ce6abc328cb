#include "models/hamburger.h"

#include <numeric>

#include "autograd/arithmetic.h"
#include "autograd/shape_ops.h"

namespace nextgrad {

namespace {

constexpr int kNormGroups = 32;

}  // namespace

ConvNorm::ConvNorm(int in, int out)
    : conv_(child<Conv2d>("conv", pointwise(in, out, false))),
      norm_(child<GroupNorm>("gn", kNormGroups, out)) {}

Hamburger::Hamburger(int channels, int rank)
    : ham_in_(child<Conv2d>("ham_in.conv", pointwise(channels, channels))),
      ham_(child<MatrixDecomposition>("ham", DecompositionOptions{.rank = rank})),
      ham_out_(child<ConvNorm>("ham_out", channels, channels)) {}

Variable Hamburger::forward(Variable x) const {
  // The ReLU gives the NMF what it can factor: nothing negative.
  return relu(x + ham_out_(ham_(relu(ham_in_(x)))));
}

LightHamHead::LightHamHead(const std::vector<int>& in, int width, int rank, int classes,
                           double dropout)
    : squeeze_(child<ConvNorm>("squeeze", std::accumulate(in.begin(), in.end(), 0), width)),
      hamburger_(child<Hamburger>("hamburger", width, rank)),
      align_(child<ConvNorm>("align", width, width)),
      conv_seg_(child<Conv2d>("conv_seg", pointwise(width, classes), Init::normal(0.01))),
      dropout_(child<ChannelDropout>("dropout", dropout)) {}

Variable LightHamHead::forward(const std::vector<Variable>& stages) const {
  check(!stages.empty(), "LightHamHead: no stages given");
  const std::int64_t h = stages.front().dim(1), w = stages.front().dim(2);
  std::vector<Variable> same_size{stages.front()};
  for (std::size_t i = 1; i < stages.size(); ++i) same_size.push_back(resize(stages[i], h, w));
  const Variable x = relu(squeeze_(concat(same_size, 3)));
  return conv_seg_(dropout_(relu(align_(hamburger_(x)))));
}

}  // namespace nextgrad
