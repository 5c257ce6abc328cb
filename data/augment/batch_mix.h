// mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of a batch with its own reverse, as timm
// does it by default: one lambda a batch, sample k with sample N-1-k.
#pragma once

#include <cstdint>
#include <span>

#include "data/images/resample.h"
#include "tensor/random.h"
#include "tensor/tensor.h"

namespace nextgrad {

// How one batch is mixed: each sample keeps `lambda` of its label.
struct MixPlan {
  double lambda = 1;             // 1: nothing is mixed
  bool cut = false;              // CutMix: `box` comes from the partner; else mixup
  Rectangle box = {0, 0, 0, 0};  // lambda is exactly the share of the picture outside
};

struct BatchMix {
  double mixup_alpha = 0.8, cutmix_alpha = 1;  // of Beta(alpha, alpha); 0: without it
  double switch_to_cutmix = 0.5;               // probability of CutMix where there are both
  bool enabled() const { return mixup_alpha > 0 || cutmix_alpha > 0; }
  // A pure function of the key: whoever wants the targets may draw it again.
  MixPlan plan(const RandomKey& key, std::int64_t height, std::int64_t width) const;
};

// Mixes a batch [n,height,width,3] in place.
void mix_images(std::span<float> images, std::int64_t n, std::int64_t height, std::int64_t width,
                const MixPlan& plan);

// What the network should say, f32 [n,classes]: lambda of each sample's own label and the rest of
// its partner's, each label smoothed as in timm: smoothing / classes everywhere, 1 - smoothing more
// on it. labels i32 [n]. Throws Error for a label out of range.
Tensor soft_targets(const Tensor& labels, std::int64_t classes, double smoothing,
                    const MixPlan& plan);

}  // namespace nextgrad
