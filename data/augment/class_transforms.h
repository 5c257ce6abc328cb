// From a picture of one class to what the network eats, as DeiT, VAN and SegNeXt are pre-trained.
#pragma once

#include <cstdint>
#include <span>

#include "data/augment/rand_augment.h"
#include "data/augment/transforms.h"
#include "data/images/image.h"
#include "data/images/resample.h"
#include "tensor/random.h"

namespace nextgrad {

// Random erasing (Zhong et al. 2020), timm's mode `pixel`: with probability `p` one rectangle of a
// share of the area in [area_min, area_max] and a ratio of its sides in [ratio_min, 1 / ratio_min]
// becomes normal noise. After normalisation.
struct RandomErasing {
  double p = 0.25, area_min = 0.02, area_max = 1.0 / 3, ratio_min = 0.3;
  void apply(std::span<float> pixels, std::int64_t height, std::int64_t width,
             RandomStream& random) const;  // [height,width,3]
};

// A part of a share of the picture's area in [scale_min, scale_max] and of a ratio of width to
// height in [3/4, 4/3] (log-uniform); the whole middle after ten parts that do not fit
// (torchvision's RandomResizedCrop).
Rectangle draw_part(std::int64_t height, std::int64_t width, double scale_min, double scale_max,
                    RandomStream& random);

// Training: random resized crop, flip, RandAugment or colour jitter, normalise, random erasing.
struct ClassTransform {
  std::int64_t size = 224;  // pixels a side
  double scale_min = 0.08, scale_max = 1;
  Filter filter = Filter::bicubic;
  double flip = 0.5;
  RandAugment rand_augment;
  double jitter = 0;  // brightness, contrast and saturation by 1 - jitter to 1 + jitter, any order
  RandomErasing erasing;
  Normalize normalize;

  void validate() const;  // throws Error unless the numbers make sense
  // Writes the picture [size,size,3]; all random numbers come from `key`.
  void apply(const Image& image, const RandomKey& key, std::span<float> out) const;
};

// Evaluation: the short side resized to floor(size / share), the middle cut out, normalised.
struct ClassEvalTransform {
  std::int64_t size = 224;
  double share = 0.875;  // timm's crop_pct
  Filter filter = Filter::bicubic;
  Normalize normalize;
  Image crop(const Image& image) const;  // [size,size,3]
  void apply(const Image& image, std::span<float> out) const;
};

}  // namespace nextgrad
