// What a model costs, counted from its layers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/segnext.h"

namespace nextgrad {

struct Product {  // of [m, k] and [k, n]: a convolution of m pixels, or a step of the decomposition
  std::int64_t m, n, k;
};
struct StageCost {
  std::string name;  // "stage 1", ..., "decoder", "total"
  std::int64_t parameters = 0;
  std::int64_t multiply_adds = 0;     // of convolutions and matrix products, one image, evaluation
  std::int64_t activation_bytes = 0;  // f32 outputs kept for the backward, one image
  std::vector<Product> products;      // those multiply-adds but the depth-wise ones
};
struct ModelCost {
  std::vector<StageCost> stages;
  StageCost total;
  double paper_parameters = 0;     // the paper's figures, 150 classes; 0 if it has none
  double paper_multiply_adds = 0;  // at 512x512 ("GFLOPs" there)
};

// Of one image height x width (at least 32 each).
ModelCost segnext_cost(const SegNeXtConfig& config, std::int64_t height, std::int64_t width);

}  // namespace nextgrad
