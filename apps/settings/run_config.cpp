#include "apps/settings/run_config.h"

#include <algorithm>
#include <iterator>

#include "apps/settings/precision.h"

namespace nextgrad {
namespace {

constexpr bool kMayChange = true;  // when a run is resumed

// Adds those of every run.
void add_common(RunConfig& c, double& flip, Settings& all) {
  Settings common = {
      {"reset-classifier", "start the last layer anew: for pretrained weights of other classes",
       c.reset_classifier, kMayChange},
      {"device", kDeviceHelp, c.device, kMayChange},
      {"precision", kPrecisionHelp, c.precision, {"f32", "tf32", "bf16"}, kMayChange},
      {"batch", "images per (micro-)batch, of all processes together", c.batch, 1, 8192},
      {"accumulate", "micro-batches whose gradients make one step", c.accumulate, 1, 4096},
      {"skip-damaged",
       "damaged training images that may be left out (each is logged) before the run ends",
       c.skip_damaged, 0, kUnlimited, kMayChange},
      {"max-pixels", "pictures of more pixels are refused", c.largest_picture, 1, kUnlimited,
       kMayChange},
      {"seed", "of weights, order and augmentation", c.seed, 0, kUnlimited},
      {"clip-grad", "largest norm of the gradient; 0 = no limit", c.clip_grad, 0, kUnlimited},
      {"ema", "decay of averaged weights, such as 0.999; 0 = no averaging", c.ema, 0, 0.999999},
      {"drop-path", "rate at the last block; -1 = the variant's own", c.drop_path, -1, 0.95},
      {"flip", "probability of a horizontal flip", flip, 0, 1},
      {"checkpoint-every", "iterations between checkpoints; 0 = only at the end",
       c.checkpoint_every, 0, kUnlimited, kMayChange},
      {"recompute", "recompute activations in the backward pass: less memory, more time",
       c.recompute, kMayChange},
      {"workers", "threads that load and augment images", c.workers, 0, 256, kMayChange},
      {"threads", "threads that compute; 0 = all cores", c.threads, 0, 1024, kMayChange},
      {"bucket", "with mpirun: MiB of gradients that are summed at once, beside the backward",
       c.bucket, 1, 4096, kMayChange},
      {"wait-limit", kWaitLimitHelp, c.wait_limit, 1, 1e6, kMayChange},
  };
  std::ranges::move(common, std::back_inserter(all));
  Settings model = settings_of(static_cast<ModelSettings&>(c));
  std::ranges::move(model, std::back_inserter(all));
}

}  // namespace

Settings settings_of(TrainConfig& c) {
  Settings all = {
      {"data", dataset_kinds_help(), c.data, dataset_kinds()},
      {"data-root", "the folder the data set was unpacked in, or the TOML file of a set of folders",
       c.data_root, kMayChange},
      {"train-split", "that is learned from: train, or another the data set has, such as trainval",
       c.train_split},
      {"val-split", "that is validated on", c.val_split},
      {"pretrained",
       "weights to start from, .pth or .safetensors (then use lr 6e-5, head-lr-multiplier 10)",
       c.pretrained, kMayChange},
      {"crop", "training crop in pixels: one number or H W", c.crop, 32, kUnlimited},
      {"iterations", "optimiser steps in all; may grow when a run is resumed", c.iterations, 1,
       kUnlimited, kMayChange},
      {"epochs", "or: how often each image is shown; 0 = by the iterations", c.epochs, 0, 1e6,
       kMayChange},
      {"optimizer", "adamw or sgd", c.optimizer, {"adamw", "sgd"}},
      {"lr", "highest learning rate", c.lr, 0, 100},
      {"head-lr-multiplier", "the decoder learns this many times faster", c.head_lr_multiplier, 0,
       1000},
      {"weight-decay", "on all weights but those of norms", c.weight_decay, 0, 10},
      {"momentum", "of sgd", c.momentum, 0, 1},
      {"schedule", "how the learning rate falls: poly or cosine", c.schedule, {"poly", "cosine"}},
      {"power", "exponent of poly", c.power, 0, 10},
      {"warmup", "iterations of linear warm-up", c.warmup, 0, kUnlimited},
      {"warmup-ratio", "share of the learning rate at which the warm-up begins", c.warmup_ratio, 0,
       1},
      {"dropout", "channel dropout before the classifier", c.dropout, 0, 0.95},
      {"auxiliary", "weight of the loss of an FCN head on stage 3, usually 0.4; 0 = without",
       c.auxiliary, 0, 100},
      {"label-smoothing", "of the cross entropy", c.label_smoothing, 0, 0.95},
      {"base-size", "fit images into this WIDTHxHEIGHT before scaling; 0 = as they are",
       c.base_size},
      {"scale-min", "random scale, lower end", c.transform.scale_min, 0.05, 20},
      {"scale-max", "random scale, upper end", c.transform.scale_max, 0.05, 20},
      {"cat-max-ratio",
       "crops are drawn anew, 10 times at most, until no class fills this share; 1 = the first "
       "crop is taken",
       c.transform.cat_max_ratio, 0.05, 1},
      {"photometric", "random brightness, contrast, saturation and hue",
       c.transform.photometric.enabled},
      {"reduced-decoding",
       "JPEGs that shrink to half or less are decoded at that size: faster, a little smoother",
       c.transform.reduced_decoding},
      {"val-every", "iterations between validations; 0 = only at the end", c.val_every, 0,
       kUnlimited, kMayChange},
      {"val-size", "validation images are resized to WIDTHxHEIGHT; 0 = see val-multiple",
       c.val_size, kMayChange},
      {"val-multiple", "or up to multiples of this many pixels", c.val_multiple, 1, 1024,
       kMayChange},
      {"val-window", "validate by a sliding window of WIDTHxHEIGHT; 0 = whole images", c.val_window,
       kMayChange},
      {"val-stride", "steps of that window; 0 = three quarters of it", c.val_stride, kMayChange},
      {"pictures", "validation images shown in the report", c.pictures, 0, 64, kMayChange},
  };
  add_common(c, c.transform.flip, all);
  return all;
}

Settings settings_of(PretrainConfig& c) {
  Settings all = {
      {"data", "folders (ROOT/train/CLASS, ROOT/val/CLASS; or ROOT/CLASS) or idx (MNIST's files)",
       c.data, class_dataset_kinds()},
      {"data-root", "folder of the data set", c.data_root, kMayChange},
      {"val-share", "of ROOT/CLASS: share of each class to validate on", c.val_share, 0, 0.95},
      {"pretrained", "weights to start from, .pth or .safetensors", c.pretrained, kMayChange},
      {"size", "pictures have this many pixels a side", c.transform.size, 32, 4096},
      {"epochs", "how often each picture is shown", c.epochs, 0.001, 1e6, kMayChange},
      {"iterations", "optimiser steps in all; 0 = by the epochs", c.iterations, 0, kUnlimited,
       kMayChange},
      {"lr", "highest learning rate of AdamW (the paper's: 1e-3 for batches of 1024)", c.lr, 0,
       100},
      {"min-lr", "where the cosine ends", c.min_lr, 0, 100},
      {"warmup", "epochs of linear warm-up (a tenth of the run at most)", c.warmup, 0, 1e6},
      {"weight-decay", "on all weights but vectors (norms, biases, layer scales)", c.weight_decay,
       0, 10},
      {"label-smoothing", "share of a label spread over all classes", c.label_smoothing, 0, 0.95},
      {"scale-min", "random resized crop: smallest share of the picture's area",
       c.transform.scale_min, 0.001, 1},
      {"scale-max", "and largest", c.transform.scale_max, 0.001, 1},
      {"interpolation",
       "bicubic or bilinear, as Pillow's",
       c.interpolation,
       {"bicubic", "bilinear"}},
      {"rand-augment", "operations of RandAugment per picture; 0 = without",
       c.transform.rand_augment.layers, 0, 16},
      {"magnitude", "of RandAugment's operations, 0 to 10", c.transform.rand_augment.magnitude, 0,
       10},
      {"magnitude-std", "and how much it varies", c.transform.rand_augment.deviation, 0, 10},
      {"jitter", "random brightness, contrast, saturation: largest change; 0 = none",
       c.transform.jitter, 0, 1},
      {"mixup", "alpha of mixup; 0 = without", c.mix.mixup_alpha, 0, 100},
      {"cutmix", "alpha of CutMix; 0 = without", c.mix.cutmix_alpha, 0, 100},
      {"mix-switch", "probability of CutMix rather than mixup", c.mix.switch_to_cutmix, 0, 1},
      {"erasing", "probability of random erasing", c.transform.erasing.p, 0, 1},
      {"val-every", "epochs between validations; 0 = only at the end", c.val_every, 0, 1e6,
       kMayChange},
      {"crop-share", "validation: the middle crop's share of the resized short side", c.crop_share,
       0.1, 1, kMayChange},
      {"pictures", "examples shown in the report", c.pictures, 0, 64, kMayChange},
  };
  add_common(c, c.transform.flip, all);
  std::erase_if(all, [](const Setting& s) { return s.key.starts_with("decoder."); });
  return all;
}

}  // namespace nextgrad
