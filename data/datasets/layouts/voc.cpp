// Pascal VOC 2012, with and without the labels of the Semantic Boundaries Dataset (SBD).
#include "data/datasets/layouts/layout.h"

namespace nextgrad::layouts {
namespace {

constexpr const char* kAugRemedy =
    "unpack SBD's labels as PNGs into VOC2012/SegmentationClassAug, and their list aug.txt or "
    "trainaug.txt into VOC2012/ImageSets/Segmentation (MMSegmentation's tools/dataset_converters/"
    "voc_aug.py makes both)";

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

FolderPart part_of(const Place& at, const std::string& list) {
  return {.images = at.folder({"JPEGImages"}),
          .image_suffix = ".jpg",
          .list = at.file({"ImageSets/Segmentation/" + list + ".txt"})};
}

FolderSpec read_voc(const Place& at, const std::string& split) {
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
  FolderPart part = part_of(at, split);
  if (split != "test") part.labels = at.folder({"SegmentationClass"});
  spec.parts = {part};
  return spec;
}

FolderSpec read_vocaug(const Place& at, const std::string& split) {
  FolderSpec spec = read_voc(at, split);
  if (split != "train") return spec;
  const Place augmented{at.base, kAugRemedy};
  const std::string list =
      augmented.file({"ImageSets/Segmentation/aug.txt", "ImageSets/Segmentation/trainaug.txt"});
  // trainaug.txt holds train.txt too; those keep VOC's own, finer labels.
  FolderPart part = part_of(at, std::filesystem::path(list).stem().string());
  part.labels = augmented.folder({"SegmentationClassAug"});
  spec.parts.push_back(part);
  return spec;
}

Layout voc_layout(const char* kind, FolderSpec (*read)(const Place&, const std::string&)) {
  return {kind,
          "Pascal VOC 2012",
          {"train", "val", "trainval", "test"},
          {"JPEGImages"},
          {"VOC2012", "VOCdevkit/VOC2012", "VOCtrainval_11-May-2012/VOCdevkit/VOC2012"},
          "download VOCtrainval_11-May-2012.tar (host.robots.ox.ac.uk/pascal/VOC/voc2012) and "
          "unpack it",
          read};
}

}  // namespace

const Layout voc = voc_layout("voc", read_voc);
const Layout vocaug = voc_layout("vocaug", read_vocaug);

}  // namespace nextgrad::layouts
