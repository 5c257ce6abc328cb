// From a picture of one class to what the network eats, as DeiT, VAN and SegNeXt are pre-trained.
#pragma once

#include <cstdint>
#include <span>

#include "data/augment/transforms.h"
#include "data/images/image.h"
#include "data/images/resample.h"
#include "tensor/random.h"

namespace nextgrad {

// RandAugment (Cubuk et al. 2020) as the pre-trainings of DeiT, VAN and SegNeXt use it: timm's
// `rand-m9-mstd0.5-inc1`.
// The operations, in timm's order; each grows stronger with its level, 0..10.
enum class AugmentOp {
  autocontrast,  // no level
  equalize,      // no level
  invert,        // no level
  rotate,        // to 30 degrees, either way
  posterize,     // keeps 4 bits at level 0, none at 10
  solarize,      // from 256 (nothing changes) at level 0 down to 0
  solarize_add,  // adds up to 110
  color,         // factor 1, 0.9 less or more at level 10
  contrast,
  brightness,
  sharpness,
  shear_x,  // up to 0.3, either way
  shear_y,
  translate_x,  // up to 0.45 of the side, either way
  translate_y,
};
inline constexpr int kAugmentOps = 15;

// Changes of a picture's colours as Pillow's ImageOps and ImageEnhance make them, which RandAugment
// is defined by. All in place, on 8-bit RGB.
void autocontrast(Image& image);                      // each channel stretched to 0..255
void equalize(Image& image);                          // each channel's histogram flattened
void adjust_color(Image& image, double factor);       // 0: grey, 1: as it is, 2: twice as colourful
void adjust_contrast(Image& image, double factor);    // 0: its mean grey
void adjust_brightness(Image& image, double factor);  // 0: black
void adjust_sharpness(Image& image, double factor);   // 0: smoothed by 3x3

// One operation at a level, `negative`: the other way. `fill` is the colour of what comes from
// outside the picture.
void apply_augment(Image& image, AugmentOp op, double level, bool negative, Color fill);

// `layers` operations drawn with replacement, each done with probability `p`, at a level drawn from
// N(magnitude, deviation) and clipped to 0..10.
struct RandAugment {
  std::int64_t layers = 2;  // 0: off
  double magnitude = 9, deviation = 0.5, p = 0.5;
  Color fill{124, 116, 104};  // ImageNet's mean
  void apply(Image& image, RandomStream& random) const;
};

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
  void apply(const Image& image, std::span<float> out) const {
    write_normalized(crop(image), normalize, out);
  }
};

}  // namespace nextgrad
