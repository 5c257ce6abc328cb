// Colours for classes, and pictures of label maps.
#pragma once

#include "data/images/image.h"

namespace nextgrad {

// `classes` colours (1..256) chosen one after the other to be farthest, in OKLab, from those
// before; the first n are the same for every number of classes.
Palette make_palette(int classes);

// The colour of each pixel's class; a value without a colour (255 = ignored) is black.
Image colorize(const LabelMap& label, const Palette& palette);

// (1 - alpha) image + alpha colour; a pixel without a colour keeps the image. Throws Error unless
// the sizes agree.
Image overlay(const Image& image, const LabelMap& label, const Palette& palette,
              double alpha = 0.5);

}  // namespace nextgrad
