// LoveDA: land cover, rural and urban; label 0 = no data.
#include "data/datasets/layouts/layout.h"

namespace nextgrad::layouts {
namespace {

FolderSpec read_loveda(const Place& at, const std::string& split) {
  FolderSpec spec;
  spec.classes = split_names("background,building,road,water,barren,forest,agricultural");
  spec.palette = palette_of("ffffff ff0000 ffff00 0000ff 9f81b7 00ff00 ffc380");
  spec.mapping = plain_mapping(7, 1);
  spec.submission.note =
      "LoveDA: grey PNGs of the class indices 0 to 6, named like the images; zip them for its "
      "CodaLab page";
  const auto add = [&](const std::string& images, const std::string& labels) {
    spec.parts.push_back(
        {.images = at.folder({images}), .labels = split == "test" ? "" : at.folder({labels})});
  };
  const std::string folder = split == "test" ? "Test" : split == "val" ? "Val" : "Train";
  if (at.has_folder("img_dir"))  // as MMSegmentation and JSeg arrange it
    add("img_dir/" + split, "ann_dir/" + split);
  else
    for (const char* scene : {"/Rural", "/Urban"})
      add(folder + scene + "/images_png", folder + scene + "/masks_png");
  return spec;
}

}  // namespace

const Layout loveda{"loveda",
                    "LoveDA",
                    {"train", "val", "test"},
                    {"img_dir", "Train", "Val"},
                    {"loveDA", "LoveDA", "loveda"},
                    "download Train.zip, Val.zip and Test.zip (zenodo.org/record/5706578) and "
                    "unpack them in one folder",
                    read_loveda};

}  // namespace nextgrad::layouts
