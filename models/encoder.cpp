#include "models/encoder.h"

#include <numeric>
#include <set>

#include "autograd/recompute.h"
#include "autograd/shape_ops.h"
#include "models/mix_transformer.h"
#include "models/mscan.h"
#include "nn/dropout.h"
#include "nn/share.h"

namespace nextgrad {

namespace {

void check_mscan(const EncoderConfig& c) {
  const bool lka = c.attention == EncoderConfig::Attention::lka;
  for (const int k : c.branches)
    if (k < 3 || k > 63 || k % 2 == 0)
      fail_input("encoder.branches: a branch of {} is none; kernels are odd, from 3 to 63", k);
  if (std::set(c.branches.begin(), c.branches.end()).size() != c.branches.size())
    fail_input("encoder.branches: a kernel stands there twice; each is a branch of its own");
  if (!lka && c.branches.empty() && c.gate != EncoderConfig::Gate::product)
    fail_input(
        "encoder: without branches and without the product no attention is left; give "
        "encoder.branches, such as 7,11,21, or encoder.gate product");
}

void check_mit(const EncoderConfig& c) {
  const EncoderConfig own;
  if (c.attention != own.attention || c.branches != own.branches || c.mixing != own.mixing ||
      c.gate != own.gate)
    fail_input(
        "encoder.attention, encoder.branches, encoder.mixing and encoder.gate are of MSCAN; this "
        "variant's encoder is MiT, leave them out");
  for (std::size_t i = 0; i < c.channels.size(); ++i)
    if (c.channels[i] % c.heads[i] != 0)
      fail_input("encoder.channels: {} of stage {} are no multiple of its {} heads", c.channels[i],
                 i + 1, c.heads[i]);
}

}  // namespace

std::vector<Variable> Encoder::features(const Variable& image) const {
  check(image.ndim() == 4 && image.dim(3) == kImageChannels,
        "encoder: wants images [N,H,W,3], got {}", image.shape());
  check(image.dim(1) >= 32 && image.dim(2) >= 32,
        "encoder: image of {}x{} is too small; 32x32 is the least", image.dim(1), image.dim(2));
  std::vector<Variable> features;
  Variable x = cast(image, activations_.value_or(image.dtype()));
  const DrawnMasks masks(x.backend(), image.dim(0), parameter_dtype(x.dtype()), masks_to_come());
  for (std::size_t i = 0; i < config_.channels.size(); ++i) features.push_back(x = stage(i, x));
  return features;
}

double Encoder::drop_path_of(int index) const {
  const int total = std::accumulate(config_.blocks.begin(), config_.blocks.end(), 0);
  return total > 1 ? config_.drop_path * index / (total - 1) : 0;
}

// Of each block's two branches. A share of a batch has other numbers of each mask.
std::vector<double> Encoder::masks_to_come() const {
  std::vector<double> p;
  const int total = std::accumulate(config_.blocks.begin(), config_.blocks.end(), 0);
  if (training() && current_share().everyone == nullptr)
    for (int i = 0; i < total; ++i)
      if (drop_path_of(i) > 0) p.insert(p.end(), 2, drop_path_of(i));
  return p;
}

Variable Encoder::stage(std::size_t i, const Variable& in) const {
  const Stage& stage = stages_.at(i);
  Variable x = (*stage.embed)(in);
  for (const Module* block : stage.blocks) {
    const auto run = [block](const std::vector<Variable>& of) { return (*block)(of.front()); };
    x = config_.recompute && grad_enabled() ? recomputed(run, {x}) : (*block)(x);
  }
  return (*stage.norm)(x);
}

std::int64_t Encoder::stage_parameters(std::size_t i) const {
  const Stage& stage = stages_.at(i);
  std::int64_t count = stage.embed->parameter_count() + stage.norm->parameter_count();
  for (const Module* block : stage.blocks) count += block->parameter_count();
  return count;
}

std::unique_ptr<Encoder> make_encoder(const EncoderConfig& c) {
  for (std::size_t i = 0; i < c.channels.size(); ++i)
    if (c.channels[i] < 2 || c.blocks[i] < 1 || c.ratios[i] < 1)
      fail_input(
          "encoder: stage {} of {} channels, {} blocks, ratio {}; at least 2 channels, 1 block and "
          "ratio 1 are needed",
          i + 1, c.channels[i], c.blocks[i], c.ratios[i]);
  if (c.kind == EncoderConfig::Kind::mit) {
    check_mit(c);
    return std::make_unique<MixTransformer>(c);
  }
  check_mscan(c);
  return std::make_unique<MSCAN>(c);
}

}  // namespace nextgrad
