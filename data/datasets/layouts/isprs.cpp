// ISPRS' Potsdam and Vaihingen, cut into patches: six classes, label 0 = boundary.
#include "data/datasets/layouts/layout.h"

namespace nextgrad::layouts {
namespace {

FolderSpec read_isprs(const Place& at, const std::string& split) {
  FolderSpec spec;
  spec.classes = split_names("impervious_surface,building,low_vegetation,tree,car,clutter");
  spec.palette = palette_of("ffffff 0000ff 00ffff 00ff00 ffff00 ff0000");
  spec.mapping = plain_mapping(6, 1);
  spec.colors = numbered(spec.palette);
  // So that boundaries, which are black, are known, not only ignored for want of a class.
  spec.colors.emplace_back(Color{0, 0, 0}, std::uint8_t{kIgnoreLabel});
  spec.submission = Submission(1);
  spec.submission.note = "ISPRS: grey PNGs of the values in its labels, one a patch";
  spec.parts = {
      {.images = at.folder({"img_dir/" + split}), .labels = at.folder({"ann_dir/" + split})}};
  return spec;
}

}  // namespace

const Layout potsdam{"potsdam",
                     "Potsdam in patches",
                     {"train", "val"},
                     {"img_dir"},
                     {"potsdam", "Potsdam"},
                     "order the data from ISPRS and cut it into img_dir and ann_dir "
                     "(MMSegmentation's tools/dataset_converters/potsdam.py)",
                     read_isprs};

const Layout vaihingen{"vaihingen",
                       "Vaihingen in patches",
                       {"train", "val"},
                       {"img_dir"},
                       {"vaihingen", "Vaihingen"},
                       "order the data from ISPRS and cut it into img_dir and ann_dir "
                       "(MMSegmentation's tools/dataset_converters/vaihingen.py)",
                       read_isprs};

}  // namespace nextgrad::layouts
