// Pascal Context: the 59 most frequent classes, with or without "background" for all others.
#include "data/datasets/layouts/layout.h"

namespace nextgrad::layouts {
namespace {

constexpr const char* kRemedy =
    "download VOCtrainval_03-May-2010.tar (host.robots.ox.ac.uk/pascal/VOC/voc2010) and "
    "trainval_merged.json, and make SegmentationClassContext and ImageSets/SegmentationContext of "
    "them (MMSegmentation's tools/dataset_converters/pascal_context.py)";

// In the order of the numbers in those labels, which is that of the alphabet.
constexpr const char* kClasses =
    "background,aeroplane,bag,bed,bedclothes,bench,bicycle,bird,boat,book,bottle,building,bus,"
    "cabinet,car,cat,ceiling,chair,cloth,computer,cow,cup,curtain,dog,door,fence,floor,flower,"
    "food,grass,ground,horse,keyboard,light,motorbike,mountain,mouse,person,plate,platform,"
    "pottedplant,road,rock,sheep,shelves,sidewalk,sign,sky,snow,sofa,table,track,train,tree,truck,"
    "tvmonitor,wall,water,window,wood";

FolderSpec context(const std::string& root, const std::string& split, bool background) {
  check_split("Pascal Context", split, {"train", "val"});
  const auto base = find_root({"Pascal Context",
                               {"SegmentationClassContext", "ImageSets/SegmentationContext"},
                               {"VOC2010", "VOCdevkit/VOC2010"},
                               kRemedy},
                              root);
  FolderSpec spec;
  spec.classes = split_names(kClasses);
  spec.palette = ade20k_palette();  // whose first colours these are
  spec.palette.resize(60);
  spec.mapping = plain_mapping(60);
  spec.submission.note = "Pascal Context: grey PNGs of the values in its labels";
  if (!background) {
    spec.classes.erase(spec.classes.begin());
    spec.palette.erase(spec.palette.begin());
    spec.mapping = plain_mapping(59, 1);
    for (std::size_t k = 0; k < 59; ++k)
      spec.submission.values[k] = static_cast<std::uint8_t>(k + 1);
  }
  FolderPart part;
  part.images = need_folder(base, {"JPEGImages"}, kRemedy);
  part.image_suffix = ".jpg";
  part.labels = need_folder(base, {"SegmentationClassContext"}, kRemedy);
  part.list = need_file(base, {"ImageSets/SegmentationContext/" + split + ".txt"}, kRemedy);
  spec.parts = {part};
  return spec;
}

}  // namespace

FolderSpec context59(const std::string& root, const std::string& split) {
  return context(root, split, false);
}

FolderSpec context60(const std::string& root, const std::string& split) {
  return context(root, split, true);
}

}  // namespace nextgrad::layouts
