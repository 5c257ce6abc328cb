// What a training run can be told, of segmentation and of classification.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "apps/settings/settings.h"
#include "data/datasets/dataset.h"

namespace nextgrad {

// Those whose meaning is the same in every run; each kind of run adds its own.
struct RunConfig {
  std::string data, data_root;
  std::string variant = "nano", pretrained, device = "cpu", precision = "f32";
  std::int64_t batch = 8, accumulate = 1, iterations = 0, seed = 0;
  std::int64_t checkpoint_every = 250, workers = 1, threads = 0, pictures = 6;
  std::int64_t skip_damaged = 0, largest_picture = max_pixels();
  double epochs = 0, lr = 6e-4, weight_decay = 0.01, clip_grad = 0, ema = 0;
  double drop_path = -1, label_smoothing = 0, scale_min = 0.5, scale_max = 2, flip = 0.5;
  bool recompute = false, reset_classifier = false;
};

// `segnext train`.
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

// `segnext pretrain`. The defaults are DeiT's and VAN's, which SegNeXt follows, but for batch and
// learning rate: theirs are 1024 and 1e-3 on eight devices.
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

Settings settings_of(TrainConfig& config);
Settings settings_of(PretrainConfig& config);
// The settings, resolved, as the run's config.toml.
std::string config_text(TrainConfig config);
std::string config_text(PretrainConfig config);

// A split of the data set that they name.
std::unique_ptr<Dataset> open_split(const TrainConfig& config, const std::string& split);
std::unique_ptr<ClassDataset> open_split(const PretrainConfig& config, const std::string& split);

}  // namespace nextgrad
