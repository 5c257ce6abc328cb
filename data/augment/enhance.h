// Changes of a picture's colours as Pillow's ImageOps and ImageEnhance make them, which RandAugment
// is defined by. All in place, on 8-bit RGB.
#pragma once

#include <functional>

#include "data/images/image.h"

namespace nextgrad {

void autocontrast(Image& image);  // each channel stretched to 0..255
void equalize(Image& image);      // each channel's histogram flattened
// Each value becomes level(value), at least 0 and at most 255.
void map_levels(Image& image, const std::function<std::int64_t(int)>& level);
void adjust_color(Image& image, double factor);       // 0: grey, 1: as it is, 2: twice as colourful
void adjust_contrast(Image& image, double factor);    // 0: its mean grey
void adjust_brightness(Image& image, double factor);  // 0: black
void adjust_sharpness(Image& image, double factor);   // 0: smoothed by 3x3

}  // namespace nextgrad
