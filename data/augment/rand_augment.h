// RandAugment (Cubuk et al. 2020) as the pre-trainings of DeiT, VAN and SegNeXt use it: timm's
// `rand-m9-mstd0.5-inc1`.
#pragma once

#include "data/images/image.h"
#include "tensor/random.h"

namespace nextgrad {

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
  int layers = 2;  // 0: off
  double magnitude = 9, deviation = 0.5, p = 0.5;
  Color fill{124, 116, 104};  // ImageNet's mean
  void apply(Image& image, RandomStream& random) const;
};

}  // namespace nextgrad
