#include "data/augment/rand_augment.h"

#include <algorithm>

#include "data/augment/enhance.h"
#include "data/images/resample.h"

namespace nextgrad {

void apply_augment(Image& image, AugmentOp op, double level, bool negative, Color fill) {
  const double share = level / 10;
  const auto signed_of = [&](double most) { return (negative ? -1 : 1) * share * most; };
  const double factor = std::max(0.1, 1 + signed_of(0.9));
  const auto affine = [&](const std::array<double, 6>& inverse) {
    image = transform_affine(image, inverse, fill);
  };
  switch (op) {
    case AugmentOp::autocontrast:
      return autocontrast(image);
    case AugmentOp::equalize:
      return equalize(image);
    case AugmentOp::invert:
      return map_levels(image, [](int v) { return 255 - v; });
    case AugmentOp::rotate:
      image = rotate(image, signed_of(30), fill);
      return;
    case AugmentOp::posterize:
      return map_levels(image, [&](int v) { return v & -(16 << static_cast<int>(share * 4)); });
    case AugmentOp::solarize:
      return map_levels(
          image, [&](int v) { return v < 256 - static_cast<int>(share * 256) ? v : 255 - v; });
    case AugmentOp::solarize_add:
      return map_levels(image,
                        [&](int v) { return v < 128 ? v + static_cast<int>(share * 110) : v; });
    case AugmentOp::color:
      return adjust_color(image, factor);
    case AugmentOp::contrast:
      return adjust_contrast(image, factor);
    case AugmentOp::brightness:
      return adjust_brightness(image, factor);
    case AugmentOp::sharpness:
      return adjust_sharpness(image, factor);
    case AugmentOp::shear_x:
      return affine({1, signed_of(0.3), 0, 0, 1, 0});
    case AugmentOp::shear_y:
      return affine({1, 0, 0, signed_of(0.3), 1, 0});
    case AugmentOp::translate_x:
      return affine({1, 0, signed_of(0.45) * static_cast<double>(image.width), 0, 1, 0});
    case AugmentOp::translate_y:
      return affine({1, 0, 0, 0, 1, signed_of(0.45) * static_cast<double>(image.height)});
  }
}

void RandAugment::apply(Image& image, RandomStream& random) const {
  for (int layer = 0; layer < layers; ++layer) {
    const auto op = static_cast<AugmentOp>(random.below(kAugmentOps));
    const bool wanted = random.chance(p);
    const double level = std::clamp(magnitude + deviation * random.normal(), 0.0, 10.0);
    const bool negative = random.chance(0.5);
    if (wanted) apply_augment(image, op, level, negative, fill);
  }
}

}  // namespace nextgrad
