#include "apps/training/train_task.h"

#include "tensor/threads.h"

namespace nextgrad {

TrainerOptions::TrainerOptions(const RunConfig& config, std::int64_t steps, const char* by)
    : RunConfig(config), command(by) {
  iterations = schedule.iterations = steps;
  schedule.base_lr = config.lr;
}

void prepare_process(const RunConfig& config) {
  if (config.scale_min > config.scale_max)
    fail_input("--scale-min {} is above --scale-max {}; exchange them", config.scale_min,
               config.scale_max);
  Device::parse(config.device);  // refuses one that is not there
  set_num_threads(static_cast<int>(config.threads));
  set_max_pixels(config.largest_picture);
}

SegNeXtConfig model_config(const RunConfig& config, int classes) {
  SegNeXtConfig architecture = segnext_config(config.variant, classes);
  if (config.drop_path >= 0) architecture.encoder.drop_path = config.drop_path;
  architecture.encoder.recompute = config.recompute;
  return architecture;
}

void check_batch_norm(std::int64_t batch, const Size& crop) {
  if (batch < 2 && crop.height <= 32 && crop.width <= 32)
    fail_input(
        "--batch {} of {}x{} pixels: batch norm needs more than one value a channel in the "
        "last stage, a 32nd of that; choose a larger --batch or picture",
        batch, crop.width, crop.height);
}

}  // namespace nextgrad
