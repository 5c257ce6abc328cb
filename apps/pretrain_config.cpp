#include "apps/pretrain_config.h"

#include <fmt/format.h>

#include "apps/precision.h"

namespace nextgrad {
namespace {

Setting text(const char* key, const char* help, std::string& value,
             std::vector<std::string> choices = {}, bool resumable = false) {
  return {key, help, &value, 0, 0, std::move(choices), resumable};
}

template <class Number>
Setting number(const char* key, const char* help, Number& value, double lowest, double highest,
               bool resumable = false) {
  return {key, help, &value, lowest, highest, {}, resumable};
}

}  // namespace

Settings settings_of(PretrainConfig& c) {
  constexpr bool kResumable = true;
  return {
      text("data",
           "folders (ROOT/train/CLASS, ROOT/val/CLASS; or ROOT/CLASS) or idx (MNIST's files)",
           c.data, {"folders", "idx"}),
      text("data-root", "folder of the data set", c.data_root, {}, kResumable),
      number("val-share", "of ROOT/CLASS: share of each class to validate on", c.val_share, 0,
             0.95),
      text("variant", "nano, tiny, small, base or large", c.variant,
           {"nano", "tiny", "small", "base", "large"}),
      text("pretrained", "weights to start from", c.pretrained, {}, kResumable),
      {"reset-classifier", "with pretrained: begin with a new classifier", &c.reset_classifier},
      text("device", kDeviceHelp, c.device, {}, kResumable),
      text("precision", kPrecisionHelp, c.precision, {"f32", "tf32", "bf16"}, kResumable),
      number("size", "pictures have this many pixels a side", c.size, 32, 4096),
      number("batch", "images per (micro-)batch", c.batch, 1, 8192),
      number("accumulate", "micro-batches whose gradients make one step", c.accumulate, 1, 4096),
      number("epochs", "how often each picture is shown", c.epochs, 0.001, 1e6, kResumable),
      number("iterations", "optimiser steps in all; 0 = by the epochs", c.iterations, 0, kUnlimited,
             kResumable),
      number("skip-damaged",
             "damaged training pictures that may be left out (each is logged) before the run ends",
             c.skip_damaged, 0, kUnlimited, kResumable),
      number("max-pixels", "pictures of more pixels are refused", c.largest_picture, 1, kUnlimited,
             kResumable),
      number("seed", "of weights, order and augmentation", c.seed, 0, kUnlimited),
      number("lr", "highest learning rate of AdamW (the paper's: 1e-3 for batches of 1024)", c.lr,
             0, 100),
      number("min-lr", "where the cosine ends", c.min_lr, 0, 100),
      number("warmup", "epochs of linear warm-up (a tenth of the run at most)", c.warmup, 0, 1e6),
      number("weight-decay", "on all weights but vectors (norms, biases, layer scales)",
             c.weight_decay, 0, 10),
      number("clip-grad", "largest norm of the gradient; 0 = no limit", c.clip_grad, 0, kUnlimited),
      number("ema", "decay of averaged weights; 0 = no averaging", c.ema, 0, 0.999999),
      number("drop-path", "rate at the last block; -1 = the variant's own", c.drop_path, -1, 0.95),
      number("label-smoothing", "share of a label spread over all classes", c.label_smoothing, 0,
             0.95),
      number("scale-min", "random resized crop: smallest share of the picture's area", c.scale_min,
             0.001, 1),
      number("scale-max", "and largest", c.scale_max, 0.001, 1),
      text("interpolation", "bicubic or bilinear, as Pillow's", c.interpolation,
           {"bicubic", "bilinear"}),
      number("flip", "probability of a horizontal flip", c.flip, 0, 1),
      number("rand-augment", "operations of RandAugment per picture; 0 = without", c.rand_augment,
             0, 16),
      number("magnitude", "of RandAugment's operations, 0 to 10", c.magnitude, 0, 10),
      number("magnitude-std", "and how much it varies", c.magnitude_std, 0, 10),
      number("jitter", "random brightness, contrast, saturation: largest change; 0 = none",
             c.jitter, 0, 1),
      number("mixup", "alpha of mixup; 0 = without", c.mixup, 0, 100),
      number("cutmix", "alpha of CutMix; 0 = without", c.cutmix, 0, 100),
      number("mix-switch", "probability of CutMix rather than mixup", c.mix_switch, 0, 1),
      number("erasing", "probability of random erasing", c.erasing, 0, 1),
      number("val-every", "epochs between validations; 0 = only at the end", c.val_every, 0, 1e6,
             kResumable),
      number("crop-share", "validation: the middle crop's share of the resized short side",
             c.crop_share, 0.1, 1, kResumable),
      number("pictures", "examples shown in the report", c.pictures, 0, 64, kResumable),
      number("checkpoint-every", "iterations between checkpoints; 0 = only at the end",
             c.checkpoint_every, 0, kUnlimited, kResumable),
      {"recompute",
       "recompute activations in the backward pass: less memory, more time",
       &c.recompute,
       0,
       0,
       {},
       kResumable},
      number("workers", "threads that load and augment images", c.workers, 0, 256, kResumable),
      number("threads", "threads that compute; 0 = all cores", c.threads, 0, 1024, kResumable),
  };
}

std::string config_text(PretrainConfig config) {
  return config_text(settings_of(config), "segnext pretrain");
}

}  // namespace nextgrad
