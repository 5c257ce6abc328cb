// iSAID: aerial pictures, cut into patches.
#include "data/datasets/layouts/layout.h"

namespace nextgrad::layouts {
namespace {

constexpr const char* kRemedy =
    "download the images (DOTA-v1.0) and semantic masks (iSAID; captain-whu.github.io), unpack "
    "them and run segnext prepare isaid";

const Palette& palette() {
  static const Palette colors{{0, 0, 0},     {0, 0, 63},    {0, 63, 63},   {0, 63, 0},
                              {0, 63, 127},  {0, 63, 191},  {0, 63, 255},  {0, 127, 63},
                              {0, 127, 127}, {0, 0, 127},   {0, 0, 191},   {0, 0, 255},
                              {0, 191, 127}, {0, 127, 191}, {0, 127, 255}, {0, 100, 155}};
  return colors;
}

}  // namespace

std::vector<std::pair<Color, std::uint8_t>> isaid_colors() {
  std::vector<std::pair<Color, std::uint8_t>> colors;
  for (const Color& color : palette())
    colors.emplace_back(color, static_cast<std::uint8_t>(colors.size()));
  return colors;
}

FolderSpec isaid(const std::string& root, const std::string& split) {
  check_split("iSAID", split, {"train", "val", "test"});
  const auto base = find_root({"iSAID in patches",
                               {"img_dir", "train/images", "val/images"},
                               {"iSAID", "iSAID_Patches", "isaid"},
                               kRemedy},
                              root);
  FolderSpec spec;
  spec.classes = split_names(
      "background,ship,store_tank,baseball_diamond,tennis_court,basketball_court,"
      "Ground_Track_Field,Bridge,Large_Vehicle,Small_Vehicle,Helicopter,Swimming_pool,Roundabout,"
      "Soccer_ball_field,plane,Harbor");
  spec.palette = palette();
  spec.mapping = plain_mapping(16);
  spec.colors = isaid_colors();
  spec.submission.palette = palette();
  spec.submission.suffix = "_instance_color_RGB.png";
  spec.submission.note = "iSAID: palette PNGs with its colours, one a patch, named like its labels";
  FolderPart part;
  part.image_suffix = ".png";
  part.label_suffix = "_instance_color_RGB.png";
  // MMSegmentation's folders; JSeg's; and those JSeg's own script makes.
  part.images =
      need_folder(base, {"img_dir/" + split, split + "/images/images", split + "/images"}, kRemedy);
  if (split != "test")
    part.labels = need_folder(base,
                              {"ann_dir/" + split, split + "/images/masks",
                               split + "/Semantic_masks", split + "/Semantic_masks/images"},
                              kRemedy);
  spec.parts = {part};
  return spec;
}

}  // namespace nextgrad::layouts
