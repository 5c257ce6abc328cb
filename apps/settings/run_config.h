// What a training run can be told, of segmentation and of classification.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "apps/settings/model_settings.h"
#include "data/augment/batch_mix.h"
#include "data/augment/class_transforms.h"
#include "data/augment/transforms.h"
#include "data/datasets/dataset.h"

namespace nextgrad {

// Those whose meaning is the same in every run; each kind of run adds its own.
struct RunConfig : ModelSettings {
  std::string data, data_root;
  std::string pretrained, device = "cpu", precision = "f32";
  std::int64_t batch = 8, accumulate = 1, iterations = 0, seed = 0;
  std::int64_t checkpoint_every = 250, workers = 1, threads = 0, pictures = 6;
  std::int64_t skip_damaged = 0, largest_picture = max_pixels();
  double epochs = 0, lr = 6e-4, weight_decay = 0.01, clip_grad = 0, ema = 0;
  double drop_path = -1, label_smoothing = 0;
  std::int64_t bucket = 4;   // MiB
  double wait_limit = 3600;  // seconds
  bool recompute = false, reset_classifier = false;
};

struct TrainConfig : RunConfig {
  static constexpr const char* kCommand = "segnext train";
  TrainConfig() {
    data = "scenes";
    iterations = 2000;
  }
  std::string train_split = "train", val_split = "val";
  std::string optimizer = "adamw", schedule = "poly";
  Size crop{128, 128}, base_size{0, 0};
  Size val_size{0, 0}, val_window{0, 0}, val_stride{0, 0};
  std::int64_t warmup = 100, val_every = 500, val_multiple = 32;  // iterations; pixels
  double head_lr_multiplier = 1, power = 1, momentum = 0.9, dropout = 0.1;
  double warmup_ratio = 1e-6, auxiliary = 0;
  TrainTransform transform;  // but for its sizes, which are above: see train_transform
};

// The defaults are DeiT's and VAN's, which SegNeXt follows, but for batch and learning rate: theirs
// are 1024 and 1e-3 on eight devices.
struct PretrainConfig : RunConfig {
  static constexpr const char* kCommand = "segnext pretrain";
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
  }
  std::string interpolation = "bicubic";
  double warmup = 5, val_every = 1;  // epochs
  double val_share = 0, min_lr = 1e-5, crop_share = 0.875;
  ClassTransform transform;  // but for its filter, the interpolation
  BatchMix mix;
};

Settings settings_of(TrainConfig& config);
Settings settings_of(PretrainConfig& config);
// The settings, resolved, as the run's config.toml.
template <class Config>
std::string config_text(Config config) {
  return config_text(settings_of(config), Config::kCommand);
}

// A split of the data set that they name: "train" or "val", or what stands for it.
inline std::unique_ptr<Dataset> open_split(const TrainConfig& c, const std::string& split) {
  return make_dataset({c.data, c.data_root}, split == "train" ? c.train_split : c.val_split);
}
inline std::unique_ptr<ClassDataset> open_split(const PretrainConfig& c, const std::string& split) {
  return make_class_dataset({c.data, c.data_root, c.val_share, static_cast<std::uint64_t>(c.seed)},
                            split);
}

}  // namespace nextgrad
