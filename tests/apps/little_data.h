// A data set of folders that trains in a second: 48x40 images of three classes.
#pragma once

#include "data/images/image.h"
#include "tensor/random.h"
#include "tests/apps/program.h"

namespace nextgrad {

inline Image little_image(std::int64_t height, std::int64_t width, std::uint32_t seed,
                          LabelMap* label = nullptr) {
  RandomStream random({seed, 0, 0, 0});
  Image image{height, width, {}};
  LabelMap map{height, width, {}};
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x) {
      const bool blob =
          (y - height / 2) * (y - height / 2) + (x - width / 2) * (x - width / 2) < 80;
      const std::uint8_t c = blob ? 2 : x * 2 < width + seed ? 0 : 1;
      map.values.push_back(y == 0 ? 255 : c);
      for (int k = 0; k < 3; ++k)
        image.pixels.push_back(static_cast<std::uint8_t>((k == c ? 180 : 40) + random.below(40)));
    }
  if (label != nullptr) *label = map;
  return image;
}

// data.toml with splits train (3 images) and val (2) in the folder.
inline void make_little_data(const TemporaryFolder& folder) {
  for (const auto& [split, count] : {std::pair("train", 3), std::pair("val", 2)}) {
    fs::create_directories(folder / ("images/" + std::string(split)));
    fs::create_directories(folder / ("labels/" + std::string(split)));
    for (int i = 0; i < count; ++i) {
      LabelMap label;
      const Image image = little_image(40, 48, static_cast<std::uint32_t>(i), &label);
      write_png(folder / fmt::format("images/{}/{}.png", split, i), image);
      write_png(folder / fmt::format("labels/{}/{}.png", split, i), label);
    }
  }
  spill(folder / "data.toml",
        "classes = [\"left\", \"right\", \"blob\"]\n[train]\nimages = \"images/train\"\n"
        "labels = \"labels/train\"\n[val]\nimages = \"images/val\"\nlabels = \"labels/val\"\n");
}

}  // namespace nextgrad
