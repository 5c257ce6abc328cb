// From a picture and its label map to what the network eats: training augmentation in the order of
// SegNeXt's published configuration (MMSegmentation), and the evaluation's preparation.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>

#include "data/images/image.h"
#include "data/images/resize.h"
#include "tensor/random.h"
#include "tensor/tensor.h"

namespace nextgrad {

// (pixel - mean) / deviation per channel, RGB in 0..255.
struct Normalize {
  std::array<float, 3> mean{123.675f, 116.28f, 103.53f};
  std::array<float, 3> deviation{58.395f, 57.12f, 57.375f};
};

// Throws Error unless the picture has the pixels it says.
void check_pixels(const Image& image);

// A picture's normalised numbers [H,W,3]. Throws Error for room for more or fewer.
void write_normalized(const Image& image, const Normalize& normalize, std::span<float> out);

// Photometric distortion as MMSegmentation's: each of brightness, contrast, saturation and hue with
// probability `p`, contrast before or after the colours by a coin; 8-bit saturating arithmetic, HSV
// as OpenCV's (hue in 0..179).
struct Photometric {
  bool enabled = true;
  double p = 0.5;
  double brightness = 32;                         // added: uniform in [-b, b]
  double contrast_min = 0.5, contrast_max = 1.5;  // factor
  double saturation_min = 0.5, saturation_max = 1.5;
  int hue = 18;  // added: integer in [-h, h), of 180
  void apply(Image& image, RandomStream& random) const;
};

// Training: scale, crop, flip, photometric distortion, normalise, pad, in this order.
struct TrainTransform {
  std::int64_t crop_h = 512, crop_w = 512;
  // Keep-ratio resize before the random factor; 0: the picture's own size.
  std::int64_t base_short = 0, base_long = 0;
  double scale_min = 0.5, scale_max = 2.0;  // uniform
  // The crop is drawn anew, up to 10 times, until it holds more than one class and none fills this
  // share of its labelled pixels or more; 1 or more: the first crop is taken.
  double cat_max_ratio = 0.75;
  double flip = 0.5;  // probability of a left-right flip
  Photometric photometric;
  Normalize normalize;
  // JPEGs that become half as large or smaller are decoded at that size: much less work, and less
  // aliasing than bilinear sampling has. Only for apply() with a LoadPart.
  bool reduced_decoding = true;

  // Throws Error unless the numbers make sense.
  void validate() const;
  // Writes the picture [crop_h,crop_w,3] and the labels [crop_h,crop_w]; what lies right of and
  // below the picture becomes 0 and 255. All random numbers come from `key`. Throws Error if sizes
  // disagree.
  void apply(Image image, const LabelMap& label, const RandomKey& key, std::span<float> out_image,
             std::span<std::int32_t> out_label) const;

  // The same of a picture whose crop alone is loaded, once the labels have told which: given the
  // rectangle and the reduction, a part as decode_image_part makes them.
  using LoadPart = std::function<ImagePart(const Rectangle& wanted, int reduce)>;
  void apply(const LabelMap& label, const LoadPart& load, const RandomKey& key,
             std::span<float> out_image, std::span<std::int32_t> out_label) const;

  // The crop that `random` draws, and the labels there. apply() is this, a resize, the photometric
  // distortion and the normalisation.
  struct Crop {
    WindowOf window;
    LabelMap label;
  };
  Crop draw(const LabelMap& label, RandomStream& random) const;
  // 8, 4 or 2 if a JPEG of height x width may be decoded at that fraction for the window, else 1.
  int reduction(const WindowOf& window, std::int64_t height, std::int64_t width) const;
  // Normalises a crop into the upper left of the outputs and pads the rest.
  void write(const Image& crop, const LabelMap& label, std::span<float> out_image,
             std::span<std::int32_t> out_label) const;
};

// Evaluation: the picture resized to height x width, or (if these are 0) by base_short and
// base_long if given and then up to the next multiples of `multiple` (a resize, not a padding, as
// in the published test pipeline; 1: as it is), at least `least` a side; normalised. `scale`, of a
// multi-scale test, multiplies the sizes named first: height and width, the base, or the picture's
// own.
struct EvalTransform {
  std::int64_t height = 0, width = 0;
  std::int64_t base_short = 0, base_long = 0;
  std::int64_t multiple = 32, least = 1;
  Normalize normalize;

  // Height and width the network sees for a picture of h x w.
  std::pair<std::int64_t, std::int64_t> size_for(std::int64_t h, std::int64_t w,
                                                 double scale = 1) const;
  // The picture at that size.
  Image resize(const Image& image, double scale = 1) const;
  // Windows of one size of a resized picture, each mirrored if `flipped`: f32 [windows,h,w,3], on
  // the CPU. Throws Error for a window that leaves the picture.
  Tensor normalized(const Image& image, std::span<const Rectangle> windows,
                    bool flipped = false) const;
};

}  // namespace nextgrad
