// ISPRS' Potsdam and Vaihingen, cut into patches: six classes, label 0 = boundary.
#include "data/datasets/layouts/layout.h"

namespace nextgrad::layouts {
namespace {

FolderSpec isprs(const char* title, const std::vector<std::string>& names, const char* remedy,
                 const std::string& root, const std::string& split) {
  check_split(title, split, {"train", "val"});
  const auto base = find_root({title, {"img_dir"}, names, remedy}, root);
  FolderSpec spec;
  spec.classes = split_names("impervious_surface,building,low_vegetation,tree,car,clutter");
  spec.palette = {{255, 255, 255}, {0, 0, 255},   {0, 255, 255},
                  {0, 255, 0},     {255, 255, 0}, {255, 0, 0}};
  spec.mapping = plain_mapping(6, 1);
  for (const Color& color : spec.palette)
    spec.colors.emplace_back(color, static_cast<std::uint8_t>(spec.colors.size()));
  // So that boundaries, which are black, are known, not only ignored for want of a class.
  spec.colors.emplace_back(Color{0, 0, 0}, std::uint8_t{kIgnoreLabel});
  for (std::size_t k = 0; k < 6; ++k) spec.submission.values[k] = static_cast<std::uint8_t>(k + 1);
  spec.submission.note = "ISPRS: grey PNGs of the values in its labels, one a patch";
  FolderPart part;
  part.images = need_folder(base, {"img_dir/" + split}, remedy);
  part.labels = need_folder(base, {"ann_dir/" + split}, remedy);
  spec.parts = {part};
  return spec;
}

}  // namespace

FolderSpec potsdam(const std::string& root, const std::string& split) {
  return isprs("Potsdam in patches", {"potsdam", "Potsdam"},
               "order the data from ISPRS and cut it into img_dir and ann_dir (MMSegmentation's "
               "tools/dataset_converters/potsdam.py)",
               root, split);
}

FolderSpec vaihingen(const std::string& root, const std::string& split) {
  return isprs("Vaihingen in patches", {"vaihingen", "Vaihingen"},
               "order the data from ISPRS and cut it into img_dir and ann_dir (MMSegmentation's "
               "tools/dataset_converters/vaihingen.py)",
               root, split);
}

}  // namespace nextgrad::layouts
