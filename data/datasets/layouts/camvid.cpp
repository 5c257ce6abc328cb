// CamVid as SegNet's authors split it: 11 classes, 11 = void.
#include "data/datasets/layouts/layout.h"
#include "data/images/palette.h"

namespace nextgrad::layouts {
namespace {

FolderSpec read_camvid(const Place& at, const std::string& split) {
  FolderSpec spec;
  spec.classes =
      split_names("Sky,Building,Pole,Road,Pavement,Tree,SignSymbol,Fence,Car,Pedestrian,Bicyclist");
  spec.palette = camvid_palette();
  spec.mapping = plain_mapping(11);
  spec.mapping[11] = kIgnoreLabel;
  spec.parts = {
      {.images = at.folder({"images/" + split}), .labels = at.folder({"labels/" + split})}};
  return spec;
}

}  // namespace

const Layout camvid{"camvid",
                    "CamVid",
                    {"train", "val", "test"},
                    {"images", "labels"},
                    {"camvid", "CamVid"},
                    "put the pictures into images/SPLIT and the label PNGs into labels/SPLIT",
                    read_camvid,
                    true};

}  // namespace nextgrad::layouts
