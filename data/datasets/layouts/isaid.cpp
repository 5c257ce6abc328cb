// iSAID: aerial pictures, cut into patches.
#include "data/class_tables.h"
#include "data/datasets/layouts/layout.h"

namespace nextgrad::layouts {
namespace {

FolderSpec read_isaid(const Place& at, const std::string& split) {
  FolderSpec spec = with_classes(tables::isaid);
  spec.submission.palette = spec.palette;
  spec.mapping = plain_mapping(16);
  spec.colors = numbered(spec.palette);
  spec.submission.suffix = "_instance_color_RGB.png";
  spec.submission.note = "iSAID: palette PNGs with its colours, one a patch, named like its labels";
  FolderPart part;
  part.image_suffix = ".png";
  part.label_suffix = "_instance_color_RGB.png";
  // MMSegmentation's folders; JSeg's; and those JSeg's own script makes.
  part.images = at.folder({"img_dir/" + split, split + "/images/images", split + "/images"});
  if (split != "test")
    part.labels = at.folder({"ann_dir/" + split, split + "/images/masks", split + "/Semantic_masks",
                             split + "/Semantic_masks/images"});
  spec.parts = {part};
  return spec;
}

}  // namespace

Palette isaid_palette() {
  return with_classes(tables::isaid).palette;
}

const Layout isaid{
    "isaid",
    "iSAID in patches",
    {"train", "val", "test"},
    {"img_dir", "train/images", "val/images"},
    {"iSAID", "iSAID_Patches", "isaid"},
    "download the images (DOTA-v1.0) and semantic masks (iSAID; captain-whu.github.io), unpack "
    "them and run segnext prepare isaid",
    read_isaid};

}  // namespace nextgrad::layouts
