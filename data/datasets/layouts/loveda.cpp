// LoveDA: land cover, rural and urban; label 0 = no data.
#include "data/datasets/layouts/layout.h"

namespace nextgrad::layouts {
namespace {

constexpr const char* kRemedy =
    "download Train.zip, Val.zip and Test.zip (zenodo.org/record/5706578) and unpack them in one "
    "folder";

}  // namespace

FolderSpec loveda(const std::string& root, const std::string& split) {
  check_split("LoveDA", split, {"train", "val", "test"});
  const auto base = find_root(
      {"LoveDA", {"img_dir", "Train", "Val"}, {"loveDA", "LoveDA", "loveda"}, kRemedy}, root);
  FolderSpec spec;
  spec.classes = split_names("background,building,road,water,barren,forest,agricultural");
  spec.palette = {{255, 255, 255}, {255, 0, 0}, {255, 255, 0},  {0, 0, 255},
                  {159, 129, 183}, {0, 255, 0}, {255, 195, 128}};
  spec.mapping = plain_mapping(7, 1);
  spec.submission.note =
      "LoveDA: grey PNGs of the class indices 0 to 6, named like the images; zip them for its "
      "CodaLab page";
  const bool test = split == "test";
  if (has_folder(base, "img_dir")) {  // as MMSegmentation and JSeg arrange it
    FolderPart part;
    part.images = need_folder(base, {"img_dir/" + split}, kRemedy);
    if (!test) part.labels = need_folder(base, {"ann_dir/" + split}, kRemedy);
    spec.parts = {part};
    return spec;
  }
  const std::string folder = test ? "Test" : split == "val" ? "Val" : "Train";
  for (const char* scene : {"/Rural", "/Urban"}) {
    FolderPart part;
    part.images = need_folder(base, {folder + scene + "/images_png"}, kRemedy);
    if (!test) part.labels = need_folder(base, {folder + scene + "/masks_png"}, kRemedy);
    spec.parts.push_back(part);
  }
  return spec;
}

}  // namespace nextgrad::layouts
