// COCO-Stuff 164k: 80 things and 91 kinds of stuff.
#include <algorithm>

#include "data/class_tables.h"
#include "data/datasets/layouts/layout.h"
#include "data/files/file.h"

namespace nextgrad::layouts {
namespace {

// Of the 182 values of the published pixel maps, these eleven things of COCO's list were never
// annotated; the others, in order, are the 171 classes.
constexpr std::array<int, 11> kUnused{11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90};
constexpr int kValues = 182;

std::array<int, 256> mapping_of_pixel_maps() {
  std::array<int, 256> mapping{};
  mapping.fill(-1);
  int k = 0;
  for (int v = 0; v < kValues; ++v)
    if (std::find(kUnused.begin(), kUnused.end(), v) == kUnused.end())
      mapping[static_cast<std::size_t>(v)] = k++;
  mapping[255] = kIgnoreLabel;
  return mapping;
}

FolderSpec read_cocostuff(const Place& at, const std::string& split) {
  FolderSpec spec = with_classes(tables::cocostuff);
  spec.submission.note = "COCO-Stuff: grey PNGs of the class indices 0 to 170";
  const std::string year = split + "2017";
  FolderPart part;
  part.images = at.folder({"images/" + year, year});
  if (split != "test") {
    part.labels =
        at.folder({"annotations/" + year, "stuffthingmaps_trainval2017/" + year,
                   "annotations/stuffthingmaps_trainval2017/" + year, "stuffthingmaps/" + year});
    // MMSegmentation's conversion stands beside the published maps, or instead of them.
    constexpr const char* kConverted = "_labelTrainIds.png";
    const bool converted = !list_tree(part.labels, {kConverted}).empty();
    part.label_suffix = converted ? kConverted : ".png";
    spec.mapping = converted ? plain_mapping(171) : mapping_of_pixel_maps();
  }
  spec.parts = {part};
  return spec;
}

}  // namespace

const Layout cocostuff{
    "cocostuff",
    "COCO-Stuff 164k",
    {"train", "val", "test"},
    {"images/train2017", "images/val2017", "train2017", "val2017"},
    {"coco_stuff164k", "cocostuff", "coco"},
    "download train2017.zip and val2017.zip (cocodataset.org) into images/, and "
    "stuffthingmaps_trainval2017.zip (github.com/nightrome/cocostuff) into annotations/",
    read_cocostuff};

}  // namespace nextgrad::layouts
