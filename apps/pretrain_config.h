// Settings of a pre-training run.
#pragma once

#include <cstdint>
#include <string>

#include "apps/settings.h"
#include "data/image.h"

namespace nextgrad {

// The defaults are DeiT's and VAN's, which SegNeXt follows, but for batch and learning rate: theirs
// are 1024 and 1e-3 on eight devices.
struct PretrainConfig {
  std::string data = "folders", data_root;
  std::string variant = "nano", pretrained, device = "cpu", precision = "f32",
              interpolation = "bicubic";
  std::int64_t size = 224, batch = 128, accumulate = 1, iterations = 0, seed = 0;
  std::int64_t rand_augment = 2, checkpoint_every = 500, workers = 1, threads = 0, pictures = 12;
  std::int64_t skip_damaged = 0, largest_picture = max_pixels();
  double epochs = 300, warmup = 5, val_every = 1;  // epochs
  double val_share = 0, lr = 5e-4, min_lr = 1e-5, weight_decay = 0.05, clip_grad = 0, ema = 0.9999;
  double drop_path = -1, label_smoothing = 0.1, scale_min = 0.08, scale_max = 1, flip = 0.5;
  double magnitude = 9, magnitude_std = 0.5, jitter = 0, erasing = 0.25;
  double mixup = 0.8, cutmix = 1, mix_switch = 0.5, crop_share = 0.875;
  bool recompute = false, reset_classifier = false;
};

Settings settings_of(PretrainConfig& config);
std::string config_text(PretrainConfig config);

}  // namespace nextgrad
