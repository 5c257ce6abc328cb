// CamVid as SegNet's authors split it: 11 classes, 11 = void.
#include "data/datasets/layouts/layout.h"
#include "data/images/palette.h"

namespace nextgrad::layouts {

FolderSpec camvid(const std::string& root, const std::string& split) {
  constexpr const char* kRemedy =
      "put the pictures into images/SPLIT and the label PNGs into labels/SPLIT";
  const auto base =
      find_root({"CamVid", {"images", "labels"}, {"camvid", "CamVid"}, kRemedy}, root);
  FolderSpec spec;
  spec.classes =
      split_names("Sky,Building,Pole,Road,Pavement,Tree,SignSymbol,Fence,Car,Pedestrian,Bicyclist");
  spec.palette = camvid_palette();
  spec.mapping = plain_mapping(11);
  spec.mapping[11] = kIgnoreLabel;
  FolderPart part;
  part.images = need_folder(base, {"images/" + split}, kRemedy);
  part.labels = need_folder(base, {"labels/" + split}, kRemedy);
  spec.parts = {part};
  return spec;
}

}  // namespace nextgrad::layouts
