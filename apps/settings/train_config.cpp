#include "apps/settings/train_config.h"

#include <algorithm>
#include <iterator>

#include "data/datasets/dataset.h"

namespace nextgrad {

Settings settings_of(TrainConfig& c) {
  constexpr bool kMayChange = true;
  Settings all = {
      text_setting("data", dataset_kinds_help(), c.data, dataset_kinds()),
      text_setting("data-root",
                   "the folder the data set was unpacked in, or the TOML file of a set of folders",
                   c.data_root, {}, kMayChange),
      text_setting(
          "pretrained",
          "weights to start from, .pth or .safetensors (then use lr 6e-5, head-lr-multiplier 10)",
          c.pretrained, {}, kMayChange),
      size_setting("crop", "training crop in pixels: one number or H W", c.crop, 32),
      number_setting("iterations", "optimiser steps in all; may grow when a run is resumed",
                     c.iterations, 1, kUnlimited, kMayChange),
      number_setting("epochs", "or: how often each image is shown; 0 = by the iterations", c.epochs,
                     0, 1e6, kMayChange),
      text_setting("optimizer", "adamw or sgd", c.optimizer, {"adamw", "sgd"}),
      number_setting("lr", "highest learning rate", c.lr, 0, 100),
      number_setting("head-lr-multiplier", "the decoder learns this many times faster",
                     c.head_lr_multiplier, 0, 1000),
      number_setting("weight-decay", "on all weights but those of norms", c.weight_decay, 0, 10),
      number_setting("momentum", "of sgd", c.momentum, 0, 1),
      text_setting("schedule", "how the learning rate falls: poly or cosine", c.schedule,
                   {"poly", "cosine"}),
      number_setting("power", "exponent of poly", c.power, 0, 10),
      number_setting("warmup", "iterations of linear warm-up", c.warmup, 0, kUnlimited),
      number_setting("warmup-ratio", "share of the learning rate at which the warm-up begins",
                     c.warmup_ratio, 0, 1),
      number_setting("dropout", "channel dropout before the classifier", c.dropout, 0, 0.95),
      number_setting("label-smoothing", "of the cross entropy", c.label_smoothing, 0, 0.95),
      size_setting("base-size", "fit images into this WIDTHxHEIGHT before scaling; 0 = as they are",
                   c.base_size),
      number_setting("scale-min", "random scale, lower end", c.scale_min, 0.05, 20),
      number_setting("scale-max", "random scale, upper end", c.scale_max, 0.05, 20),
      number_setting("cat-max-ratio",
                     "crops are drawn anew, 10 times at most, until no class fills this share; 1 = "
                     "the first crop is taken",
                     c.cat_max_ratio, 0.05, 1),
      flag_setting("photometric", "random brightness, contrast, saturation and hue", c.photometric),
      flag_setting("reduced-decoding",
                   "JPEGs that shrink to half or less are decoded at that size: faster, a little "
                   "smoother",
                   c.reduced_decoding),
      number_setting("val-every", "iterations between validations; 0 = only at the end",
                     c.val_every, 0, kUnlimited, kMayChange),
      size_setting("val-size",
                   "validation images are resized to WIDTHxHEIGHT; 0 = see val-multiple",
                   c.val_size, 0, kMayChange),
      number_setting("val-multiple", "or up to multiples of this many pixels", c.val_multiple, 1,
                     1024, kMayChange),
      size_setting("val-window", "validate by a sliding window of WIDTHxHEIGHT; 0 = whole images",
                   c.val_window, 0, kMayChange),
      size_setting("val-stride", "steps of that window; 0 = three quarters of it", c.val_stride, 0,
                   kMayChange),
      number_setting("pictures", "validation images shown in the report", c.pictures, 0, 64,
                     kMayChange),
  };
  std::ranges::move(settings_of(static_cast<RunConfig&>(c)), std::back_inserter(all));
  return all;
}

std::string config_text(TrainConfig config) {
  return config_text(settings_of(config), "segnext train");
}

}  // namespace nextgrad
