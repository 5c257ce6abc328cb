// Settings of a training run of segmentation.
#pragma once

#include <cstdint>
#include <string>

#include "apps/settings/run_config.h"

namespace nextgrad {

struct TrainConfig : RunConfig {
  TrainConfig() {
    data = "scenes";
    iterations = 2000;
  }
  std::string optimizer = "adamw", schedule = "poly";
  Size crop{128, 128}, base_size{0, 0};
  Size val_size{0, 0}, val_window{0, 0}, val_stride{0, 0};
  std::int64_t warmup = 100, val_every = 500, val_multiple = 32;  // iterations; pixels
  double head_lr_multiplier = 1, power = 1, momentum = 0.9, dropout = 0.1;
  double cat_max_ratio = 0.75, warmup_ratio = 1e-6;
  bool photometric = true, reduced_decoding = true;
};

Settings settings_of(TrainConfig& config);
std::string config_text(TrainConfig config);

}  // namespace nextgrad
