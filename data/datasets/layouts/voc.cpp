// Pascal VOC 2012, with and without the labels of the Semantic Boundaries Dataset (SBD).
#include "data/datasets/layouts/layout.h"

namespace nextgrad::layouts {
namespace {

constexpr const char* kRemedy =
    "download VOCtrainval_11-May-2012.tar (host.robots.ox.ac.uk/pascal/VOC/voc2012) and unpack it";
constexpr const char* kAugRemedy =
    "unpack SBD's labels as PNGs into VOC2012/SegmentationClassAug, and their list aug.txt or "
    "trainaug.txt into VOC2012/ImageSets/Segmentation (MMSegmentation's tools/dataset_converters/"
    "voc_aug.py makes both)";

std::filesystem::path voc_root(const std::string& root) {
  return find_root({"Pascal VOC 2012",
                    {"JPEGImages"},
                    {"VOC2012", "VOCdevkit/VOC2012", "VOCtrainval_11-May-2012/VOCdevkit/VOC2012"},
                    kRemedy},
                   root);
}

// VOC's colours: the bits of the index, three at a time, spread over red, green and blue from the
// highest bit down.
Palette voc_palette(int entries) {
  Palette palette;
  for (int v = 0; v < entries; ++v) {
    Color color{};
    for (int bit = 0; bit < 8; ++bit)
      for (std::size_t c = 0; c < 3; ++c)
        if ((v >> (3 * bit + static_cast<int>(c)) & 1) != 0)
          color[c] = static_cast<std::uint8_t>(color[c] | 1 << (7 - bit));
    palette.push_back(color);
  }
  return palette;
}

FolderPart part_of(const std::filesystem::path& base, const std::string& list) {
  FolderPart part;
  part.images = need_folder(base, {"JPEGImages"}, kRemedy);
  part.image_suffix = ".jpg";
  part.list = need_file(base, {"ImageSets/Segmentation/" + list + ".txt"}, kRemedy);
  return part;
}

}  // namespace

FolderSpec voc(const std::string& root, const std::string& split) {
  check_split("Pascal VOC 2012", split, {"train", "val", "trainval", "test"});
  const auto base = voc_root(root);
  FolderSpec spec;
  spec.classes = split_names(
      "background,aeroplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,diningtable,dog,horse,"
      "motorbike,person,pottedplant,sheep,sofa,train,tvmonitor");
  spec.palette = voc_palette(21);
  spec.mapping = plain_mapping(21);
  spec.submission.palette = voc_palette(256);
  spec.submission.note =
      "Pascal VOC: palette PNGs with VOC's colours; pack them as results/VOC2012/Segmentation/"
      "comp6_test_cls/NAME.png in one .tgz for host.robots.ox.ac.uk";
  FolderPart part = part_of(base, split);
  if (split != "test") part.labels = need_folder(base, {"SegmentationClass"}, kRemedy);
  spec.parts = {part};
  return spec;
}

FolderSpec vocaug(const std::string& root, const std::string& split) {
  FolderSpec spec = voc(root, split);
  if (split != "train") return spec;
  const auto base = voc_root(root);
  need_file(base, {"ImageSets/Segmentation/aug.txt", "ImageSets/Segmentation/trainaug.txt"},
            kAugRemedy);
  // trainaug.txt holds train.txt too; those keep VOC's own, finer labels.
  const bool aug = std::filesystem::is_regular_file(base / "ImageSets/Segmentation/aug.txt");
  FolderPart part = part_of(base, aug ? "aug" : "trainaug");
  part.labels = need_folder(base, {"SegmentationClassAug"}, kAugRemedy);
  spec.parts.push_back(part);
  return spec;
}

}  // namespace nextgrad::layouts
