// Resizing of pictures and label maps on the host, as the published pipelines do it (OpenCV).
#pragma once

#include <cstdint>
#include <utility>

#include "data/images/image.h"

namespace nextgrad {

// A rectangle of a picture that would have `full_h` x `full_w` pixels.
struct WindowOf {
  std::int64_t full_h, full_w;
  std::int64_t top, left, height, width;
  bool mirrored = false;  // the window's columns come from right to left
};

// cv2.INTER_LINEAR: half-pixel centres, borders clamped, no antialiasing, rounded to nearest. The
// window's form computes only that rectangle of the resized picture, with the same values.
Image resize_bilinear(const Image& image, std::int64_t height, std::int64_t width);
Image resize_bilinear(const Image& image, const WindowOf& window);
// The part of a picture of height x width that the window reads, and the same from that part alone.
// Throws Error if the part lacks something.
Rectangle source_of(const WindowOf& window, std::int64_t height, std::int64_t width);
Image resize_bilinear(const ImagePart& part, const WindowOf& window);

// cv2.INTER_NEAREST: source index floor(i * in / out).
LabelMap resize_nearest(const LabelMap& label, std::int64_t height, std::int64_t width);
LabelMap resize_nearest(const LabelMap& label, const WindowOf& window);

// Height and width of a picture scaled, keeping its ratio, by the largest factor for which its
// short side is at most `short_side` and its long side at most `long_side` (mmcv.rescale_size).
std::pair<std::int64_t, std::int64_t> rescale_size(std::int64_t height, std::int64_t width,
                                                   double short_side, double long_side);

}  // namespace nextgrad
