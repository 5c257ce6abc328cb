// Settings of a pre-training run.
#pragma once

#include <cstdint>
#include <string>

#include "apps/settings/run_config.h"

namespace nextgrad {

// The defaults are DeiT's and VAN's, which SegNeXt follows, but for batch and learning rate: theirs
// are 1024 and 1e-3 on eight devices.
struct PretrainConfig : RunConfig {
  PretrainConfig() {
    data = "folders";
    batch = 128;
    checkpoint_every = 500;
    pictures = 12;
    epochs = 300;
    lr = 5e-4;
    weight_decay = 0.05;
    ema = 0.9999;
    label_smoothing = 0.1;
    scale_min = 0.08;
    scale_max = 1;
  }
  std::string interpolation = "bicubic";
  std::int64_t size = 224, rand_augment = 2;
  double warmup = 5, val_every = 1;  // epochs
  double val_share = 0, min_lr = 1e-5;
  double magnitude = 9, magnitude_std = 0.5, jitter = 0, erasing = 0.25;
  double mixup = 0.8, cutmix = 1, mix_switch = 0.5, crop_share = 0.875;
};

Settings settings_of(PretrainConfig& config);
std::string config_text(PretrainConfig config);

}  // namespace nextgrad
