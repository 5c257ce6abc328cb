// ADE20K as of the scene parsing challenge of 2016: 150 classes, label 0 = none of them.
#include "data/class_tables.h"
#include "data/datasets/layouts/layout.h"

namespace nextgrad::layouts {
namespace {

FolderSpec read_ade20k(const Place& at, const std::string& split) {
  FolderSpec spec = with_classes(tables::ade20k);
  spec.mapping = plain_mapping(150, 1);
  spec.submission = Submission(1);
  spec.submission.note =
      "ADE20K: grey PNGs of the values 1 to 150, named like the images; zip them for "
      "sceneparsing.csail.mit.edu";
  if (split == "test") {
    const Place release{at.base, "download release_test.zip and unpack it in ADEChallengeData2016"};
    spec.parts = {{.images = release.folder(
                       {"images/testing", "release_test/testing", "../release_test/testing"})}};
  } else {
    const std::string name = split == "train" ? "training" : "validation";
    spec.parts = {
        {.images = at.folder({"images/" + name}), .labels = at.folder({"annotations/" + name})}};
  }
  return spec;
}

}  // namespace

const Layout ade20k{
    "ade20k",
    "ADE20K",
    {"train", "val", "test"},
    {"images/training", "images/validation"},
    {"ADEChallengeData2016", "ade/ADEChallengeData2016"},
    "download ADEChallengeData2016.zip (data.csail.mit.edu/places/ADEchallenge) and unpack it",
    read_ade20k};

}  // namespace nextgrad::layouts
