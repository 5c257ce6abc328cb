// Cityscapes, finely annotated: 19 of its 34 labels count.
#include "data/class_tables.h"
#include "data/datasets/layouts/layout.h"
#include "data/files/file.h"
#include "tensor/error.h"

namespace nextgrad::layouts {
namespace {

// The labelIds of the 19 trainIds, in their order.
constexpr std::array<std::uint8_t, 19> kLabelIds{7,  8,  11, 12, 13, 17, 19, 20, 21, 22,
                                                 23, 24, 25, 26, 27, 28, 31, 32, 33};
constexpr int kLabels = 34;  // labelIds go from 0 to 33

constexpr const char* kImages = "_leftImg8bit.png";
constexpr const char* kById = "_gtFine_labelIds.png";
constexpr const char* kByTrainId = "_gtFine_labelTrainIds.png";

std::array<int, 256> mapping_of_ids() {
  std::array<int, 256> mapping{};
  mapping.fill(-1);
  for (int v = 0; v < kLabels; ++v) mapping[static_cast<std::size_t>(v)] = kIgnoreLabel;
  for (std::size_t k = 0; k < kLabelIds.size(); ++k) mapping[kLabelIds[k]] = static_cast<int>(k);
  mapping[255] = kIgnoreLabel;  // license plates, whose labelId is -1
  return mapping;
}

FolderSpec read_cityscapes(const Place& at, const std::string& split) {
  FolderSpec spec = with_classes(tables::cityscapes);
  for (std::size_t k = 0; k < kLabelIds.size(); ++k) spec.submission.values[k] = kLabelIds[k];
  spec.submission.suffix = kImages;
  spec.submission.note =
      "Cityscapes: grey PNGs of labelIds at 2048 x 1024, named like the images; zip them for "
      "cityscapes-dataset.com/submit";
  FolderPart part;
  part.nested = true;
  part.image_suffix = kImages;
  part.images = at.folder({"leftImg8bit/" + split});
  if (split != "test") {  // the files of the test split say that everything is ignored
    part.labels = at.folder({"gtFine/" + split});
    const bool by_id = !list_tree(part.labels, {kById}).empty();
    if (!by_id && list_tree(part.labels, {kByTrainId}).empty())
      fail_input("{}: no file *{} or *{} in it or its cities; {}", part.labels, kById, kByTrainId,
                 at.remedy);
    part.label_suffix = by_id ? kById : kByTrainId;
    spec.mapping = by_id ? mapping_of_ids() : plain_mapping(19);
  }
  spec.parts = {part};
  return spec;
}

}  // namespace

const Layout cityscapes{
    "cityscapes",
    "Cityscapes",
    {"train", "val", "test"},
    {"leftImg8bit"},
    {"cityscapes", "Cityscapes"},
    "download leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip (cityscapes-dataset.com) "
    "and unpack both in one folder",
    read_cityscapes};

}  // namespace nextgrad::layouts
