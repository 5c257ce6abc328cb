// Pascal Context: the 59 most frequent classes, with or without "background" for all others.
#include "data/class_tables.h"
#include "data/datasets/layouts/layout.h"

namespace nextgrad::layouts {
namespace {

FolderSpec context(const Place& at, const std::string& split, bool background) {
  FolderSpec spec = with_classes(tables::context);  // in the order of the numbers in the labels
  spec.mapping = plain_mapping(60);
  spec.submission = Submission(background ? 0 : 1);
  spec.submission.note = "Pascal Context: grey PNGs of the values in its labels";
  if (!background) {
    spec.classes.erase(spec.classes.begin());
    spec.palette.erase(spec.palette.begin());
    spec.mapping = plain_mapping(59, 1);
  }
  spec.parts = {{.images = at.folder({"JPEGImages"}),
                 .labels = at.folder({"SegmentationClassContext"}),
                 .image_suffix = ".jpg",
                 .list = at.file({"ImageSets/SegmentationContext/" + split + ".txt"})}};
  return spec;
}

Layout context_layout(const char* kind, FolderSpec (*read)(const Place&, const std::string&)) {
  return {kind,
          "Pascal Context",
          {"train", "val"},
          {"SegmentationClassContext", "ImageSets/SegmentationContext"},
          {"VOC2010", "VOCdevkit/VOC2010"},
          "download VOCtrainval_03-May-2010.tar (host.robots.ox.ac.uk/pascal/VOC/voc2010) and "
          "trainval_merged.json, and make SegmentationClassContext and "
          "ImageSets/SegmentationContext of them (MMSegmentation's "
          "tools/dataset_converters/pascal_context.py)",
          read};
}

}  // namespace

const Layout context59 = context_layout("context59", [](const Place& at, const std::string& split) {
  return context(at, split, false);
});
const Layout context60 = context_layout("context60", [](const Place& at, const std::string& split) {
  return context(at, split, true);
});

}  // namespace nextgrad::layouts
