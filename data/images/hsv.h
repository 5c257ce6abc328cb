// 8-bit RGB <-> HSV as OpenCV's COLOR_RGB2HSV and back: hue in 0..179, saturation and value 0..255.
#pragma once

#include "data/images/image.h"

namespace nextgrad {

std::array<std::uint8_t, 3> rgb_to_hsv(Color rgb);
Color hsv_to_rgb(std::array<std::uint8_t, 3> hsv);

}  // namespace nextgrad
