// Sampling of pictures as Pillow does it, for the pre-training's transforms: published ImageNet
// figures were measured on pictures resized by it.
#pragma once

#include <array>
#include <cstdint>

#include "data/images/image.h"

namespace nextgrad {

// Bilinear: the triangle of support 1; bicubic: Keys' kernel with a = -0.5, support 2.
enum class Filter { bilinear, bicubic };

// Image.crop(part).resize((width, height), filter): half-pixel centres; a kernel that is stretched
// by the factor when the picture gets smaller (antialiasing), cut at the part's edge and
// normalised; rows, then columns, each rounded to 8 bits. `mirrored`: then left and right
// exchanged. Throws Error for a part that is not inside.
Image resample(const Image& image, const Rectangle& part, std::int64_t height, std::int64_t width,
               Filter filter, bool mirrored = false);

// Image.transform(size, AFFINE, inverse, BICUBIC, fillcolor=fill): pixel (x, y), its centre at +
// 1/2, comes from (a x + b y + c, d x + e y + f); bicubic with a = -1, fractions cut; what comes
// from outside is `fill`.
Image transform_affine(const Image& image, const std::array<double, 6>& inverse, Color fill);

// Image.rotate(degrees, BICUBIC, fillcolor=fill): counter-clockwise about the middle, same size.
Image rotate(const Image& image, double degrees, Color fill);

}  // namespace nextgrad
