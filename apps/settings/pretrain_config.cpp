#include "apps/settings/pretrain_config.h"

#include <algorithm>
#include <iterator>

namespace nextgrad {

Settings settings_of(PretrainConfig& c) {
  constexpr bool kMayChange = true;
  Settings all = {
      text_setting(
          "data",
          "folders (ROOT/train/CLASS, ROOT/val/CLASS; or ROOT/CLASS) or idx (MNIST's files)",
          c.data, {"folders", "idx"}),
      text_setting("data-root", "folder of the data set", c.data_root, {}, kMayChange),
      number_setting("val-share", "of ROOT/CLASS: share of each class to validate on", c.val_share,
                     0, 0.95),
      text_setting("pretrained", "weights to start from, .pth or .safetensors", c.pretrained, {},
                   kMayChange),
      number_setting("size", "pictures have this many pixels a side", c.size, 32, 4096),
      number_setting("epochs", "how often each picture is shown", c.epochs, 0.001, 1e6, kMayChange),
      number_setting("iterations", "optimiser steps in all; 0 = by the epochs", c.iterations, 0,
                     kUnlimited, kMayChange),
      number_setting("lr", "highest learning rate of AdamW (the paper's: 1e-3 for batches of 1024)",
                     c.lr, 0, 100),
      number_setting("min-lr", "where the cosine ends", c.min_lr, 0, 100),
      number_setting("warmup", "epochs of linear warm-up (a tenth of the run at most)", c.warmup, 0,
                     1e6),
      number_setting("weight-decay", "on all weights but vectors (norms, biases, layer scales)",
                     c.weight_decay, 0, 10),
      number_setting("label-smoothing", "share of a label spread over all classes",
                     c.label_smoothing, 0, 0.95),
      number_setting("scale-min", "random resized crop: smallest share of the picture's area",
                     c.scale_min, 0.001, 1),
      number_setting("scale-max", "and largest", c.scale_max, 0.001, 1),
      text_setting("interpolation", "bicubic or bilinear, as Pillow's", c.interpolation,
                   {"bicubic", "bilinear"}),
      number_setting("rand-augment", "operations of RandAugment per picture; 0 = without",
                     c.rand_augment, 0, 16),
      number_setting("magnitude", "of RandAugment's operations, 0 to 10", c.magnitude, 0, 10),
      number_setting("magnitude-std", "and how much it varies", c.magnitude_std, 0, 10),
      number_setting("jitter", "random brightness, contrast, saturation: largest change; 0 = none",
                     c.jitter, 0, 1),
      number_setting("mixup", "alpha of mixup; 0 = without", c.mixup, 0, 100),
      number_setting("cutmix", "alpha of CutMix; 0 = without", c.cutmix, 0, 100),
      number_setting("mix-switch", "probability of CutMix rather than mixup", c.mix_switch, 0, 1),
      number_setting("erasing", "probability of random erasing", c.erasing, 0, 1),
      number_setting("val-every", "epochs between validations; 0 = only at the end", c.val_every, 0,
                     1e6, kMayChange),
      number_setting("crop-share", "validation: the middle crop's share of the resized short side",
                     c.crop_share, 0.1, 1, kMayChange),
      number_setting("pictures", "examples shown in the report", c.pictures, 0, 64, kMayChange),
  };
  std::ranges::move(settings_of(static_cast<RunConfig&>(c)), std::back_inserter(all));
  return all;
}

std::string config_text(PretrainConfig config) {
  return config_text(settings_of(config), "segnext pretrain");
}

}  // namespace nextgrad
