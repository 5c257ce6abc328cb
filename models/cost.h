// What a model costs, counted as it runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/segmenter.h"

namespace nextgrad {

struct StageCost {
  std::string name;  // "stage 1", ..., "decoder", "total"
  std::int64_t parameters = 0;
  std::int64_t multiply_adds = 0;     // of convolutions and matrix products, one image, evaluation
  std::int64_t activation_bytes = 0;  // kept for the backward of one image, f32
};
struct ModelCost {
  std::vector<StageCost> stages;
  StageCost total;
};

// Of one image height x width (at least 32 each), on the CPU: runs the model in evaluation and in
// training. Throws InputError for a smaller image.
ModelCost model_cost(const ModelConfig& config, std::int64_t height, std::int64_t width);

// The paper's figures at 512x512 ("GFLOPs" there are multiply-adds), of the variants and of what its
// ablations make of them; for 150 classes, with MSCA in the decoder for 171.
struct PaperFigures {
  double parameters = 0, multiply_adds = 0;  // 0: it has none
};
PaperFigures paper_figures(const ModelConfig& config);

}  // namespace nextgrad
