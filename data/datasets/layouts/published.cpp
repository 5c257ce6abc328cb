// The published data sets: a function for each that finds the files of a split and says what their
// labels mean, and at the end an entry in the list of all. The classes and colours are those of the
// sets' authors, in MMSegmentation's order; the longer tables are the .txt files beside.
#include <algorithm>

#include "data/class_tables.h"
#include "data/datasets/layouts/layout.h"
#include "data/files/file.h"
#include "tensor/error.h"

namespace nextgrad::layouts {
namespace {

// ADE20K as of the scene parsing challenge of 2016: 150 classes, label 0 = none of them.
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

// Cityscapes, finely annotated: 19 of its 34 labels, 0 to 33, count. Their labelIds, in the order
// of the trainIds:
constexpr std::array<std::uint8_t, 19> kLabelIds{7,  8,  11, 12, 13, 17, 19, 20, 21, 22,
                                                 23, 24, 25, 26, 27, 28, 31, 32, 33};

std::array<int, 256> mapping_of_label_ids() {
  std::array<int, 256> mapping{};
  mapping.fill(-1);
  std::fill_n(mapping.begin(), 34, kIgnoreLabel);
  for (std::size_t k = 0; k < kLabelIds.size(); ++k) mapping[kLabelIds[k]] = static_cast<int>(k);
  mapping[255] = kIgnoreLabel;  // license plates, whose labelId is -1
  return mapping;
}

FolderSpec read_cityscapes(const Place& at, const std::string& split) {
  constexpr const char* kImages = "_leftImg8bit.png";
  constexpr const char *kById = "_gtFine_labelIds.png", *kByTrainId = "_gtFine_labelTrainIds.png";
  FolderSpec spec = with_classes(tables::cityscapes);
  std::copy(kLabelIds.begin(), kLabelIds.end(), spec.submission.values.begin());
  spec.submission.suffix = kImages;
  spec.submission.note =
      "Cityscapes: grey PNGs of labelIds at 2048 x 1024, named like the images; zip them for "
      "cityscapes-dataset.com/submit";
  FolderPart part{
      .images = at.folder({"leftImg8bit/" + split}), .image_suffix = kImages, .nested = true};
  if (split != "test") {  // the files of the test split say that everything is ignored
    part.labels = at.folder({"gtFine/" + split});
    const bool by_id = !list_tree(part.labels, {kById}).empty();
    if (!by_id && list_tree(part.labels, {kByTrainId}).empty())
      fail_input("{}: no file *{} or *{} in it or its cities; {}", part.labels, kById, kByTrainId,
                 at.remedy);
    part.label_suffix = by_id ? kById : kByTrainId;
    spec.mapping = by_id ? mapping_of_label_ids() : plain_mapping(19);
  }
  spec.parts = {part};
  return spec;
}

// COCO-Stuff 164k: 80 things and 91 kinds of stuff. Of the 182 values of the published pixel maps,
// eleven things of COCO's list were never annotated; the others, in order, are the 171 classes.
std::array<int, 256> mapping_of_pixel_maps() {
  constexpr std::array<int, 11> kUnused{11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90};
  std::array<int, 256> mapping{};
  mapping.fill(-1);
  int k = 0;
  for (int v = 0; v < 182; ++v)
    if (std::find(kUnused.begin(), kUnused.end(), v) == kUnused.end())
      mapping[static_cast<std::size_t>(v)] = k++;
  mapping[255] = kIgnoreLabel;
  return mapping;
}

FolderSpec read_cocostuff(const Place& at, const std::string& split) {
  FolderSpec spec = with_classes(tables::cocostuff);
  spec.submission.note = "COCO-Stuff: grey PNGs of the class indices 0 to 170";
  const std::string year = split + "2017";
  FolderPart part{.images = at.folder({"images/" + year, year})};
  if (split != "test") {
    part.labels =
        at.folder({"annotations/" + year, "stuffthingmaps_trainval2017/" + year,
                   "annotations/stuffthingmaps_trainval2017/" + year, "stuffthingmaps/" + year});
    // MMSegmentation's conversion stands beside the published maps, or instead of them.
    constexpr const char* kConverted = "_labelTrainIds.png";
    const bool converted = !list_tree(part.labels, {kConverted}).empty();
    part.label_suffix = converted ? kConverted : ".png";
    spec.mapping = converted ? plain_mapping(171) : mapping_of_pixel_maps();
  }
  spec.parts = {part};
  return spec;
}

// Pascal VOC 2012. The colours of its files, of all 256 values: the bits of the value, three at a
// time, spread over red, green and blue from the highest bit down.
Palette voc_palette() {
  Palette palette;
  for (int v = 0; v < 256; ++v) {
    Color color{};
    for (int bit = 0; bit < 8; ++bit)
      for (std::size_t c = 0; c < 3; ++c)
        if ((v >> (3 * bit + static_cast<int>(c)) & 1) != 0)
          color[c] = static_cast<std::uint8_t>(color[c] | 1 << (7 - bit));
    palette.push_back(color);
  }
  return palette;
}

FolderPart voc_part(const Place& at, const std::string& list) {
  return {.images = at.folder({"JPEGImages"}),
          .image_suffix = ".jpg",
          .list = at.file({"ImageSets/Segmentation/" + list + ".txt"})};
}

FolderSpec read_voc(const Place& at, const std::string& split) {
  FolderSpec spec = with_classes(
      "000000 background,800000 aeroplane,008000 bicycle,808000 bird,000080 boat,800080 bottle,"
      "008080 bus,808080 car,400000 cat,c00000 chair,408000 cow,c08000 diningtable,400080 dog,"
      "c00080 horse,408080 motorbike,c08080 person,004000 pottedplant,804000 sheep,00c000 sofa,"
      "80c000 train,004080 tvmonitor");
  spec.mapping = plain_mapping(21);
  spec.submission.palette = voc_palette();
  spec.submission.note =
      "Pascal VOC: palette PNGs with VOC's colours; pack them as results/VOC2012/Segmentation/"
      "comp6_test_cls/NAME.png in one .tgz for host.robots.ox.ac.uk";
  spec.parts = {voc_part(at, split)};
  if (split != "test") spec.parts[0].labels = at.folder({"SegmentationClass"});
  return spec;
}

// With the labels of the Semantic Boundaries Dataset (SBD).
FolderSpec read_vocaug(const Place& at, const std::string& split) {
  FolderSpec spec = read_voc(at, split);
  if (split != "train") return spec;
  const Place augmented{
      at.base,
      "unpack SBD's labels as PNGs into VOC2012/SegmentationClassAug, and their list aug.txt or "
      "trainaug.txt into VOC2012/ImageSets/Segmentation (MMSegmentation's "
      "tools/dataset_converters/voc_aug.py makes both)"};
  const std::string list =
      augmented.file({"ImageSets/Segmentation/aug.txt", "ImageSets/Segmentation/trainaug.txt"});
  // trainaug.txt holds train.txt too; those keep VOC's own, finer labels.
  FolderPart part = voc_part(at, std::filesystem::path(list).stem().string());
  part.labels = augmented.folder({"SegmentationClassAug"});
  spec.parts.push_back(part);
  return spec;
}

// Pascal Context: the 59 most frequent classes, with or without "background" for all others.
template <bool background>
FolderSpec read_context(const Place& at, const std::string& split) {
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

// iSAID: aerial pictures, cut into patches.
FolderSpec read_isaid(const Place& at, const std::string& split) {
  constexpr const char* kLabels = "_instance_color_RGB.png";
  FolderSpec spec = with_classes(tables::isaid);
  spec.submission.palette = spec.palette;
  spec.mapping = plain_mapping(16);
  spec.colors = numbered(spec.palette);
  spec.submission.suffix = kLabels;
  spec.submission.note = "iSAID: palette PNGs with its colours, one a patch, named like its labels";
  // MMSegmentation's folders; JSeg's; and those JSeg's own script makes.
  spec.parts = {
      {.images = at.folder({"img_dir/" + split, split + "/images/images", split + "/images"}),
       .image_suffix = ".png",
       .label_suffix = kLabels}};
  if (split != "test")
    spec.parts[0].labels = at.folder({"ann_dir/" + split, split + "/images/masks",
                                      split + "/Semantic_masks", split + "/Semantic_masks/images"});
  return spec;
}

// LoveDA: land cover, rural and urban; label 0 = no data.
FolderSpec read_loveda(const Place& at, const std::string& split) {
  FolderSpec spec = with_classes(
      "ffffff background,ff0000 building,ffff00 road,0000ff water,9f81b7 barren,00ff00 forest,"
      "ffc380 agricultural");
  spec.mapping = plain_mapping(7, 1);
  spec.submission.note =
      "LoveDA: grey PNGs of the class indices 0 to 6, named like the images; zip them for its "
      "CodaLab page";
  const auto add = [&](const std::string& images, const std::string& labels) {
    spec.parts.push_back(
        {.images = at.folder({images}), .labels = split == "test" ? "" : at.folder({labels})});
  };
  const std::string folder = split == "test" ? "Test" : split == "val" ? "Val" : "Train";
  if (at.has_folder("img_dir"))  // as MMSegmentation and JSeg arrange it
    add("img_dir/" + split, "ann_dir/" + split);
  else
    for (const char* scene : {"/Rural", "/Urban"})
      add(folder + scene + "/images_png", folder + scene + "/masks_png");
  return spec;
}

// ISPRS' Potsdam and Vaihingen, cut into patches: six classes, label 0 = boundary.
FolderSpec read_isprs(const Place& at, const std::string& split) {
  FolderSpec spec = with_classes(
      "ffffff impervious_surface,0000ff building,00ffff low_vegetation,00ff00 tree,ffff00 car,"
      "ff0000 clutter");
  spec.mapping = plain_mapping(6, 1);
  spec.colors = numbered(spec.palette);
  // So that boundaries, which are black, are known, not only ignored for want of a class.
  spec.colors[{0, 0, 0}] = kIgnoreLabel;
  spec.submission = Submission(1);
  spec.submission.note = "ISPRS: grey PNGs of the values in its labels, one a patch";
  spec.parts = {
      {.images = at.folder({"img_dir/" + split}), .labels = at.folder({"ann_dir/" + split})}};
  return spec;
}

// CamVid as SegNet's authors split it: 11 classes, 11 = void.
FolderSpec read_camvid(const Place& at, const std::string& split) {
  FolderSpec spec = with_classes(
      "808080 Sky,800000 Building,c0c080 Pole,804080 Road,3c28de Pavement,808000 Tree,"
      "c08080 SignSymbol,404080 Fence,400080 Car,404000 Pedestrian,0080c0 Bicyclist");
  spec.mapping = plain_mapping(11);
  spec.mapping[11] = kIgnoreLabel;
  spec.parts = {
      {.images = at.folder({"images/" + split}), .labels = at.folder({"labels/" + split})}};
  return spec;
}

const std::vector<std::string> kTrainVal{"train", "val"}, kThree{"train", "val", "test"},
    kVocSplits{"train", "val", "trainval", "test"};
const std::vector<std::string> kVocNames{"VOC2012", "VOCdevkit/VOC2012",
                                         "VOCtrainval_11-May-2012/VOCdevkit/VOC2012"};
constexpr const char* kVocRemedy =
    "download VOCtrainval_11-May-2012.tar (host.robots.ox.ac.uk/pascal/VOC/voc2012) and unpack it";
const std::vector<std::string> kContextMarkers{"SegmentationClassContext",
                                               "ImageSets/SegmentationContext"},
    kContextNames{"VOC2010", "VOCdevkit/VOC2010"};
constexpr const char* kContextRemedy =
    "download VOCtrainval_03-May-2010.tar (host.robots.ox.ac.uk/pascal/VOC/voc2010) and "
    "trainval_merged.json, and make SegmentationClassContext and ImageSets/SegmentationContext of "
    "them (MMSegmentation's tools/dataset_converters/pascal_context.py)";

const Layout kPublished[] = {
    {"ade20k",
     "ADE20K",
     kThree,
     {"images/training", "images/validation"},
     {"ADEChallengeData2016", "ade/ADEChallengeData2016"},
     "download ADEChallengeData2016.zip (data.csail.mit.edu/places/ADEchallenge) and unpack it",
     read_ade20k},
    {"cityscapes",
     "Cityscapes",
     kThree,
     {"leftImg8bit"},
     {"cityscapes", "Cityscapes"},
     "download leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip (cityscapes-dataset.com) "
     "and unpack both in one folder",
     read_cityscapes},
    {"cocostuff",
     "COCO-Stuff 164k",
     kThree,
     {"images/train2017", "images/val2017", "train2017", "val2017"},
     {"coco_stuff164k", "cocostuff", "coco"},
     "download train2017.zip and val2017.zip (cocodataset.org) into images/, and "
     "stuffthingmaps_trainval2017.zip (github.com/nightrome/cocostuff) into annotations/",
     read_cocostuff},
    {"voc", "Pascal VOC 2012", kVocSplits, {"JPEGImages"}, kVocNames, kVocRemedy, read_voc},
    {"vocaug", "Pascal VOC 2012", kVocSplits, {"JPEGImages"}, kVocNames, kVocRemedy, read_vocaug},
    {"context59", "Pascal Context", kTrainVal, kContextMarkers, kContextNames, kContextRemedy,
     read_context<false>},
    {"context60", "Pascal Context", kTrainVal, kContextMarkers, kContextNames, kContextRemedy,
     read_context<true>},
    {"isaid",
     "iSAID in patches",
     kThree,
     {"img_dir", "train/images", "val/images"},
     {"iSAID", "iSAID_Patches", "isaid"},
     "download the images (DOTA-v1.0) and semantic masks (iSAID; captain-whu.github.io), unpack "
     "them and run segnext prepare isaid",
     read_isaid},
    {"loveda",
     "LoveDA",
     kThree,
     {"img_dir", "Train", "Val"},
     {"loveDA", "LoveDA", "loveda"},
     "download Train.zip, Val.zip and Test.zip (zenodo.org/record/5706578) and unpack them in one "
     "folder",
     read_loveda},
    {"potsdam",
     "Potsdam in patches",
     kTrainVal,
     {"img_dir"},
     {"potsdam", "Potsdam"},
     "order the data from ISPRS and cut it into img_dir and ann_dir (MMSegmentation's "
     "tools/dataset_converters/potsdam.py)",
     read_isprs},
    {"vaihingen",
     "Vaihingen in patches",
     kTrainVal,
     {"img_dir"},
     {"vaihingen", "Vaihingen"},
     "order the data from ISPRS and cut it into img_dir and ann_dir (MMSegmentation's "
     "tools/dataset_converters/vaihingen.py)",
     read_isprs},
    {"camvid",
     "CamVid",
     kThree,
     {"images", "labels"},
     {"camvid", "CamVid"},
     "put the pictures into images/SPLIT and the label PNGs into labels/SPLIT",
     read_camvid,
     true}};

}  // namespace

std::span<const Layout> published() {
  return kPublished;
}

Palette isaid_palette() {
  return with_classes(tables::isaid).palette;
}

}  // namespace nextgrad::layouts
