// Settings of a training run.
#pragma once

#include <cstdint>
#include <string>

#include "apps/settings.h"
#include "data/image.h"

namespace nextgrad {

struct TrainConfig {
  std::string data = "scenes", data_root;
  std::string variant = "nano", pretrained, device = "cpu", precision = "f32";
  std::string optimizer = "adamw", schedule = "poly";
  Size crop{128, 128}, base_size{0, 0};
  Size val_size{0, 0}, val_window{0, 0}, val_stride{0, 0};
  std::int64_t batch = 8, accumulate = 1, iterations = 2000, warmup = 100, seed = 0;
  std::int64_t val_every = 500, checkpoint_every = 250, workers = 1, threads = 0, pictures = 6;
  std::int64_t val_multiple = 32;
  std::int64_t skip_damaged = 0, largest_picture = max_pixels();
  double epochs = 0;  // 0: by the iterations
  double lr = 6e-4, weight_decay = 0.01, head_lr_multiplier = 1, power = 1, momentum = 0.9;
  double clip_grad = 0, ema = 0, drop_path = -1, dropout = 0.1, label_smoothing = 0;
  double scale_min = 0.5, scale_max = 2, flip = 0.5, cat_max_ratio = 0.75, warmup_ratio = 1e-6;
  bool photometric = true, reduced_decoding = true, recompute = false, reset_classifier = false;
};

Settings settings_of(TrainConfig& config);
std::string config_text(TrainConfig config);

}  // namespace nextgrad
