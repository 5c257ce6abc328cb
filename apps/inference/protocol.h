// The test protocol that a command's or a run's sizes ask for.
#pragma once

#include "apps/inference/inference.h"
#include "apps/settings/train_config.h"

namespace nextgrad {

struct ProtocolSizes {
  Size size = {}, base = {}, window = {}, stride = {};
  std::int64_t multiple = 32;
};

// One view at scale 1. A window without a stride gets three quarters of it: 768 for 1024, as
// published. Throws InputError for a stride that leaves gaps, naming the two options.
Protocol make_protocol(const ProtocolSizes& sizes, const Normalize& normalize,
                       const char* window_option = "--window",
                       const char* stride_option = "--stride");

// The protocol of a training run's validation.
Protocol val_protocol(const TrainConfig& config);

}  // namespace nextgrad
