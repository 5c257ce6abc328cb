// A picture of training samples as the network gets them, with a legend of the classes.
#pragma once

#include <cstdint>
#include <string_view>

#include "data/augment/transforms.h"
#include "data/datasets/dataset.h"

namespace nextgrad {

struct ContactSheet {
  std::int64_t pictures = 12, columns = 2;  // samples, evenly spread over the data set
  std::int64_t cell = 256;                  // longest side of a sample on the sheet, in pixels
  std::uint64_t seed = 0;                   // of the augmentation
};

// Each sample augmented, alone and under its classes' colours, and below them the names and
// colours of the classes that were seen. Samples that cannot be read are passed over. Throws Error
// if the data set has no labels, InputError if no sample can be read.
Image contact_sheet(const Dataset& dataset, const TrainTransform& transform,
                    const ContactSheet& sheet);

// Writes text in capitals, 8 x 12 pixels a letter, with its upper left corner at (x, y); what
// leaves the picture is cut. Unknown characters are blank.
void draw_text(Image& image, std::int64_t x, std::int64_t y, std::string_view text,
               const Color& color);

}  // namespace nextgrad
