// What every training run can be told, whatever it learns.
#pragma once

#include <cstdint>
#include <string>

#include "apps/settings/settings.h"
#include "data/images/image.h"

namespace nextgrad {

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

// Those whose meaning is the same in every run; each kind of run adds its own.
Settings settings_of(RunConfig& config);

// Settings in one line each.
Setting text_setting(const char* key, std::string help, std::string& value,
                     std::vector<std::string> choices = {}, bool resumable = false);
Setting size_setting(const char* key, std::string help, Size& value, double lowest = 0,
                     bool resumable = false);
template <class Number>
Setting number_setting(const char* key, std::string help, Number& value, double lowest,
                       double highest, bool resumable = false) {
  return {key, std::move(help), &value, lowest, highest, {}, resumable};
}
inline Setting flag_setting(const char* key, std::string help, bool& value,
                            bool resumable = false) {
  return {key, std::move(help), &value, 0, 0, {}, resumable};
}

}  // namespace nextgrad
