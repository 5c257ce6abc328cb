#include "apps/settings/run_config.h"

#include "apps/settings/precision.h"
#include "models/segnext.h"

namespace nextgrad {

Setting text_setting(const char* key, std::string help, std::string& value,
                     std::vector<std::string> choices, bool resumable) {
  return {key, std::move(help), &value, 0, 0, std::move(choices), resumable};
}

Setting size_setting(const char* key, std::string help, Size& value, double lowest,
                     bool resumable) {
  return {key, std::move(help), &value, lowest, kUnlimited, {}, resumable};
}

Settings settings_of(RunConfig& c) {
  constexpr bool kMayChange = true;
  return {
      text_setting("variant", "nano, tiny, small, base or large", c.variant, segnext_variants()),
      flag_setting("reset-classifier",
                   "start the last layer anew: for pretrained weights of other classes",
                   c.reset_classifier, kMayChange),
      text_setting("device", kDeviceHelp, c.device, {}, kMayChange),
      text_setting("precision", kPrecisionHelp, c.precision, {"f32", "tf32", "bf16"}, kMayChange),
      number_setting("batch", "images per (micro-)batch", c.batch, 1, 8192),
      number_setting("accumulate", "micro-batches whose gradients make one step", c.accumulate, 1,
                     4096),
      number_setting("skip-damaged",
                     "damaged training images that may be left out (each is logged) before the run "
                     "ends",
                     c.skip_damaged, 0, kUnlimited, kMayChange),
      number_setting("max-pixels", "pictures of more pixels are refused", c.largest_picture, 1,
                     kUnlimited, kMayChange),
      number_setting("seed", "of weights, order and augmentation", c.seed, 0, kUnlimited),
      number_setting("clip-grad", "largest norm of the gradient; 0 = no limit", c.clip_grad, 0,
                     kUnlimited),
      number_setting("ema", "decay of averaged weights, such as 0.999; 0 = no averaging", c.ema, 0,
                     0.999999),
      number_setting("drop-path", "rate at the last block; -1 = the variant's own", c.drop_path, -1,
                     0.95),
      number_setting("flip", "probability of a horizontal flip", c.flip, 0, 1),
      number_setting("checkpoint-every", "iterations between checkpoints; 0 = only at the end",
                     c.checkpoint_every, 0, kUnlimited, kMayChange),
      flag_setting("recompute",
                   "recompute activations in the backward pass: less memory, more time",
                   c.recompute, kMayChange),
      number_setting("workers", "threads that load and augment images", c.workers, 0, 256,
                     kMayChange),
      number_setting("threads", "threads that compute; 0 = all cores", c.threads, 0, 1024,
                     kMayChange),
  };
}

}  // namespace nextgrad
