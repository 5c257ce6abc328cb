// Cityscapes, finely annotated: 19 of its 34 labels count.
#include "data/datasets/layouts/layout.h"
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
constexpr const char* kRemedy =
    "download leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip (cityscapes-dataset.com) "
    "and unpack both in one folder";

std::array<int, 256> mapping_of_ids() {
  std::array<int, 256> mapping{};
  mapping.fill(-1);
  for (int v = 0; v < kLabels; ++v) mapping[static_cast<std::size_t>(v)] = kIgnoreLabel;
  for (std::size_t k = 0; k < kLabelIds.size(); ++k) mapping[kLabelIds[k]] = static_cast<int>(k);
  mapping[255] = kIgnoreLabel;  // license plates, whose labelId is -1
  return mapping;
}

}  // namespace

FolderSpec cityscapes(const std::string& root, const std::string& split) {
  check_split("Cityscapes", split, {"train", "val", "test"});
  const auto base =
      find_root({"Cityscapes", {"leftImg8bit"}, {"cityscapes", "Cityscapes"}, kRemedy}, root);
  FolderSpec spec;
  spec.classes = split_names(
      "road,sidewalk,building,wall,fence,pole,traffic light,traffic sign,vegetation,terrain,sky,"
      "person,rider,car,truck,bus,train,motorcycle,bicycle");
  spec.palette = {{128, 64, 128},  {244, 35, 232}, {70, 70, 70},  {102, 102, 156}, {190, 153, 153},
                  {153, 153, 153}, {250, 170, 30}, {220, 220, 0}, {107, 142, 35},  {152, 251, 152},
                  {70, 130, 180},  {220, 20, 60},  {255, 0, 0},   {0, 0, 142},     {0, 0, 70},
                  {0, 60, 100},    {0, 80, 100},   {0, 0, 230},   {119, 11, 32}};
  for (std::size_t k = 0; k < kLabelIds.size(); ++k) spec.submission.values[k] = kLabelIds[k];
  spec.submission.suffix = kImages;
  spec.submission.note =
      "Cityscapes: grey PNGs of labelIds at 2048 x 1024, named like the images; zip them for "
      "cityscapes-dataset.com/submit";
  FolderPart part;
  part.nested = true;
  part.image_suffix = kImages;
  part.images = need_folder(base, {"leftImg8bit/" + split}, kRemedy);
  if (split != "test") {  // the files of the test split say that everything is ignored
    part.labels = need_folder(base, {"gtFine/" + split}, kRemedy);
    const bool by_id = has_file_with(part.labels, true, kById);
    if (!by_id && !has_file_with(part.labels, true, kByTrainId))
      fail_input("{}: no file *{} or *{} in it or its cities; {}", part.labels, kById, kByTrainId,
                 kRemedy);
    part.label_suffix = by_id ? kById : kByTrainId;
    spec.mapping = by_id ? mapping_of_ids() : plain_mapping(19);
  }
  spec.parts = {part};
  return spec;
}

}  // namespace nextgrad::layouts
