// The published data sets, each on a miniature in its layout, with what goes wrong in real ones.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "data/datasets/dataset.h"
#include "data/datasets/folder_dataset.h"
#include "data/datasets/layouts/layout.h"
#include "data/files/file.h"
#include "tests/data/encoders.h"
#include "tests/data/miniatures.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;

namespace fs = std::filesystem;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// The error of opening and reading a split; one line.
std::string error_of(const std::string& kind, const std::string& root,
                     const std::string& split = "train") {
  const std::string error = input_error([&] {
    const auto data = make_dataset({kind, root}, split);
    for (std::int64_t i = 0; i < data->size(); ++i) data->load(i);
  });
  CHECK(error.find('\n') == std::string::npos);
  return error;
}

struct Expected {
  int classes;
  std::string first, last;
  std::map<int, int> mapping;  // value in the miniature's files -> class
  bool test;                   // whether there is a split without labels
};

const std::map<std::string, Expected>& expectations() {
  static const std::map<std::string, Expected> all{
      {"ade20k", {150, "wall", "flag", {{0, 255}, {1, 0}, {2, 1}, {13, 12}, {150, 149}}, true}},
      {"cityscapes",
       {19,
        "road",
        "bicycle",
        {{0, 255}, {7, 0}, {8, 1}, {26, 13}, {33, 18}, {3, 255}, {9, 255}},
        true}},
      {"cocostuff",
       {171,
        "person",
        "wood",
        {{0, 0}, {10, 10}, {12, 11}, {255, 255}, {91, 80}, {181, 170}},
        true}},
      {"voc",
       {21, "background", "tvmonitor", {{0, 0}, {1, 1}, {15, 15}, {255, 255}, {20, 20}}, true}},
      {"vocaug",
       {21, "background", "tvmonitor", {{0, 0}, {1, 1}, {15, 15}, {255, 255}, {20, 20}}, true}},
      {"context59", {59, "aeroplane", "wood", {{0, 255}, {1, 0}, {2, 1}, {59, 58}}, false}},
      {"context60", {60, "background", "wood", {{0, 0}, {1, 1}, {2, 2}, {59, 59}}, false}},
      {"isaid", {16, "background", "Harbor", {{0, 0}, {1, 1}, {9, 9}, {15, 15}}, true}},
      {"loveda", {7, "background", "agricultural", {{0, 255}, {1, 0}, {2, 1}, {7, 6}}, true}},
      {"potsdam", {6, "impervious_surface", "clutter", {{0, 255}, {1, 0}, {2, 1}, {6, 5}}, false}},
      {"vaihingen",
       {6, "impervious_surface", "clutter", {{0, 255}, {1, 0}, {2, 1}, {6, 5}}, false}},
      {"camvid", {11, "Sky", "Bicyclist", {{0, 0}, {3, 3}, {11, 255}, {10, 10}}, false}}};
  return all;
}

// Every pixel of the split's labels is what its value in the file stands for.
void check_labels(const Dataset& data, const Expected& expected,
                  const std::vector<std::uint8_t>& values) {
  std::set<int> wanted, seen;
  for (const std::uint8_t v : values) wanted.insert(expected.mapping.at(v));
  for (std::int64_t i = 0; i < data.size(); ++i) {
    const Sample sample = data.load(i);
    CHECK(sample.name == data.name(i));
    CHECK(sample.label.height == sample.image.height);
    seen.insert(sample.label.values.begin(), sample.label.values.end());
    CHECK(data.load_label(i).values == sample.label.values);
    CHECK(data.load_image(i).pixels == sample.image.pixels);
    CHECK(fs::exists(data.image_path(i)));
    if (is_color_png(read_file(data.label_path(i)))) continue;
    const LabelMap raw = read_label(data.label_path(i));
    for (std::size_t at = 0; at < raw.values.size(); ++at)
      if (expected.mapping.at(raw.values[at]) != sample.label.values[at]) {
        FAIL("pixel " << at << " of " << data.label_path(i));
        break;
      }
  }
  CHECK(seen == wanted);
}

}  // namespace

TEST_CASE("every published layout opens, train, val and test") {
  for (const auto& [kind, expected] : expectations()) {
    CAPTURE(kind);
    const TemporaryFolder folder;
    make_miniature(kind, folder.path());
    const DatasetConfig config{kind, folder.path()};
    const auto splits = dataset_splits(config);
    CHECK(std::count(splits.begin(), splits.end(), "train") == 1);
    const auto train = make_dataset(config, "train"), val = make_dataset(config, "val");
    CHECK(train->size() == (kind == "vocaug" ? 5 : 4));
    CHECK(val->size() == 2);
    CHECK(train->num_classes() == expected.classes);
    CHECK(train->palette().size() == static_cast<std::size_t>(expected.classes));
    CHECK(train->classes().front() == expected.first);
    CHECK(train->classes().back() == expected.last);
    const std::set<std::string> names(train->classes().begin(), train->classes().end());
    CHECK(names.size() == static_cast<std::size_t>(expected.classes));
    CHECK(train->has_labels());
    check_labels(*train, expected, miniature_values(kind));
    check_labels(*val, expected, miniature_values(kind));
    if (!expected.test) continue;
    const auto test = make_dataset(config, "test");
    CHECK_FALSE(test->has_labels());
    CHECK(test->label_path(0).empty());
    CHECK(test->load(0).label.height == 0);
    CHECK(test->load_label(0).values.empty());
    CHECK(test->load(0).image.width > 0);
  }
}

TEST_CASE("every kind has a miniature, and the list of kinds is the one of make_dataset") {
  for (const std::string& kind : dataset_kinds()) {
    if (kind == "scenes" || kind == "folder") continue;
    CHECK(expectations().contains(kind));
    CHECK(has(dataset_kinds_help(), kind));
  }
  CHECK(has(input_error([] {
              make_dataset({"cityscape", "x"}, "train");
            }),
            "did you mean cityscapes?"));
  CHECK(has(input_error([] { dataset_splits({"imagenet21k", "x"}); }), "choose scenes, ade20k"));
}

TEST_CASE("the folder may be given at any level") {
  for (const auto& [kind, inside] : std::map<std::string, std::vector<std::string>>{
           {"ade20k", {"ADEChallengeData2016", "ADEChallengeData2016/images/training"}},
           {"voc", {"VOCdevkit", "VOCdevkit/VOC2012/", "VOCdevkit/VOC2012/JPEGImages"}},
           {"context59", {"VOCdevkit", "VOCdevkit/VOC2010/ImageSets/SegmentationContext"}},
           {"cityscapes", {"", "leftImg8bit", "gtFine/val/"}},
           {"isaid", {"img_dir"}}}) {
    const TemporaryFolder folder;
    make_miniature(kind, folder.path());
    for (const std::string& level : inside) {
      CAPTURE(level);
      CHECK(error_of(kind, folder.path() + "/" + level).empty());
    }
    // A folder around it, under one of its usual names.
    if (kind == "cityscapes") {
      const TemporaryFolder outer;
      make_miniature(kind, outer / "cityscapes");
      CHECK(error_of(kind, outer.path()).empty());
    }
  }
}

TEST_CASE("a folder that is something else: what was expected, what is there, what to do") {
  const TemporaryFolder folder, good;
  write_file_atomic(folder / "photos/a.txt", std::string_view("x"));
  for (const auto& [kind, expected] : expectations()) {
    CAPTURE(kind);
    const std::string error = error_of(kind, folder.path());
    CHECK(error.find(folder.path()) == 0);
    CHECK(has(error, "photos/"));
    CHECK(has(error, "; "));
    CHECK(has(error_of(kind, folder.path() + "/no"), "no such folder"));
    CHECK(has(error_of(kind, folder.path() + "/photos/a.txt"), "is no folder"));
    CHECK(has(error_of(kind, ""), "--data-root"));
    make_miniature(kind, good / kind);
    CHECK(has(error_of(kind, good / kind, "dev"), "dev"));
  }
}

TEST_CASE("a split whose folder or list is missing is told apart from one that is wrong") {
  const TemporaryFolder folder;
  make_miniature("ade20k", folder.path());
  fs::remove_all(folder / "ADEChallengeData2016/annotations/validation");
  const std::string ade = error_of("ade20k", folder.path(), "val");
  CHECK(has(ade, "annotations/validation: no such folder"));
  CHECK(has(ade, "has training/"));
  CHECK(has(ade, "ADEChallengeData2016.zip"));
  CHECK(error_of("ade20k", folder.path()).empty());
  make_miniature("voc", folder.path());
  fs::remove(folder / "VOCdevkit/VOC2012/ImageSets/Segmentation/test.txt");
  CHECK(has(error_of("voc", folder.path(), "test"), "Segmentation/test.txt: no such file"));
  CHECK(has(error_of("vocaug", folder.path()), "aug.txt: no such file, nor"));
  write_file_atomic(folder / "VOCdevkit/VOC2012/ImageSets/Segmentation/aug.txt",
                    std::string_view("2008_000007\n"));
  CHECK(has(error_of("vocaug", folder.path()), "SegmentationClassAug: no such folder"));
  make_miniature("cityscapes", folder.path());
  for (const char* city : {"aachen", "ulm"})
    fs::remove_all(folder.path() + "/gtFine/train/" + city);
  CHECK(has(error_of("cityscapes", folder.path()), "_gtFine_labelIds.png"));
}

TEST_CASE("Cityscapes' and COCO-Stuff's converted labels are read as such") {
  const TemporaryFolder folder;
  make_miniature("cityscapes", folder.path());
  make_miniature("cocostuff", folder.path());
  for (const auto& [kind, labels, from, to] : std::vector<std::array<std::string, 4>>{
           {"cityscapes", "gtFine/train", "_gtFine_labelIds.png", "_gtFine_labelTrainIds.png"},
           {"cocostuff", "annotations/train2017", ".png", "_labelTrainIds.png"}}) {
    const DatasetConfig config{kind, folder.path()};
    std::vector<LabelMap> before;
    const auto raw = make_dataset(config, "train");
    for (std::int64_t i = 0; i < raw->size(); ++i) before.push_back(raw->load_label(i));
    for (std::int64_t i = 0; i < raw->size(); ++i) {
      const std::string path = raw->label_path(i);
      write_png(path.substr(0, path.size() - from.size()) + to,
                before[static_cast<std::size_t>(i)]);
      // Cityscapes' stand in the way no longer; COCO-Stuff's may stay beside the others.
      if (kind == "cityscapes") fs::remove(path);
    }
    const auto converted = make_dataset(config, "train");
    REQUIRE(converted->size() == raw->size());
    CHECK(has(converted->label_path(0), to));
    for (std::int64_t i = 0; i < raw->size(); ++i)
      CHECK(converted->load_label(i).values == before[static_cast<std::size_t>(i)].values);
  }
}

TEST_CASE("other layouts of the same sets: JSeg's iSAID, arranged LoveDA, COCO's own folders") {
  const TemporaryFolder folder;
  make_miniature("isaid", folder.path());
  fs::create_directories(folder / "jseg/train/x");
  fs::rename(folder / "img_dir/train", folder / "jseg/train/images");
  fs::rename(folder / "ann_dir/train", folder / "jseg/train/Semantic_masks");
  CHECK(error_of("isaid", folder / "jseg").empty());
  make_miniature("loveda", folder.path());
  for (const char* scene : {"Rural", "Urban"})
    for (const auto& [from, to] :
         std::map<std::string, std::string>{{"images_png", "img_dir"}, {"masks_png", "ann_dir"}})
      for (const std::string& path :
           list_files(folder.path() + "/Train/" + scene + "/" + from, {".png"}))
        fs::rename(path,
                   folder / ("arranged/" + to + "/train/" + fs::path(path).filename().string()));
  CHECK(make_dataset({"loveda", folder / "arranged"}, "train")->size() == 4);
  CHECK(error_of("loveda", folder / "arranged").empty());
  make_miniature("cocostuff", folder.path());
  fs::rename(folder / "images/train2017", folder / "coco/train2017");
  fs::rename(folder / "annotations/train2017",
             folder / "coco/stuffthingmaps_trainval2017/train2017");
  CHECK(error_of("cocostuff", folder.path() + "/coco").empty());
}

TEST_CASE("the augmented VOC: own labels first, a name once, both forms of the list") {
  const TemporaryFolder folder;
  make_miniature("vocaug", folder.path());
  const DatasetConfig config{"vocaug", folder.path()};
  const auto data = make_dataset(config, "train");
  REQUIRE(data->size() == 5);
  CHECK(has(data->label_path(0), "SegmentationClass/2007_000000.png"));
  CHECK(data->name(4) == "2008_000007");
  CHECK(has(data->label_path(4), "SegmentationClassAug/2008_000007.png"));
  const std::string lists = folder.path() + "/VOCdevkit/VOC2012/ImageSets/Segmentation/";
  fs::remove(lists + "aug.txt");
  write_file_atomic(lists + "trainaug.txt",
                    std::string_view("/JPEGImages/2007_000000.jpg /SegmentationClassAug/x.png\n"
                                     "/JPEGImages/2008_000007.jpg /SegmentationClassAug/y.png\n"));
  const auto listed = make_dataset(config, "train");
  REQUIRE(listed->size() == 5);
  CHECK(has(listed->label_path(0), "SegmentationClass/2007_000000.png"));
  CHECK(has(listed->label_path(4), "SegmentationClassAug/2008_000007.png"));
  CHECK(make_dataset(config, "val")->size() == 2);
}

TEST_CASE("traps of real archives are told in one line that names the file") {
  const TemporaryFolder folder;
  make_miniature("ade20k", folder.path());
  const std::string images = folder.path() + "/ADEChallengeData2016/images/training/ADE_train_";
  const std::string labels =
      folder.path() + "/ADEChallengeData2016/annotations/training/ADE_train_";
  const std::string image = images + "00000002.jpg", label = labels + "00000002.png";
  const FileBytes good_label = read_file(label), good_image = read_file(image);
  const auto refused = [&](const std::string& part) {
    const std::string error = error_of("ade20k", folder.path());
    CAPTURE(error);
    CHECK(has(error, part));
    write_file_atomic(label, good_label);
    write_file_atomic(image, good_image);
  };
  fs::remove(label);
  refused("00000002.jpg: has no label ADE_train_00000002.png in");
  fs::remove(image);
  refused("00000002.png: has no image in");
  write_png(label, noise_label(72, 50, 3, 1));
  refused("00000002.png: 50 x 72 labels for the 72 x 50 pixels");
  write_png(label, LabelMap{50, 72, std::vector<std::uint8_t>(50 * 72, 151)});
  refused("00000002.png: label 151 at (0, 0) and 3599 other pixels stands for none of the 150");
  FileBytes wide(50 * 72 * 2, 0);
  wide[2 * 72 + 5] = 7;  // 7 at (2, 1)
  write_file_atomic(label, png_file({72, 50, 16, 0}, wide));
  CHECK(error_of("ade20k", folder.path()).empty());  // 16 bits are fine while the values are
  wide[2 * 72 + 4] = 1;
  write_file_atomic(label, png_file({72, 50, 16, 0}, wide));
  refused("00000002.png: label 263 at (2, 1)");
  write_png(label, noise_image(50, 72, 1));
  refused("00000002.png: is a colour picture");
  write_file_atomic(label, std::string_view("no picture"));
  refused("00000002.png: is no PNG");
  write_file_atomic(label, FileBytes(good_label.begin(), good_label.end() - 30));
  refused("00000002.png: damaged or truncated");
  write_file_atomic(image, FileBytes(good_image.begin(), good_image.begin() + 200));
  refused("00000002.jpg: damaged or truncated");
  fs::rename(image, images + "00000002.JPG");
  fs::rename(label, labels + "00000002.PNG");
  CHECK(error_of("ade20k", folder.path()).empty());
  write_file_atomic(images + "00000002.jpeg", good_image);
  CHECK(has(error_of("ade20k", folder.path()), "have the same name"));
}

TEST_CASE("every problem is listed for who asks") {
  const TemporaryFolder folder;
  make_miniature("voc", folder.path());
  const std::string base = folder.path() + "/VOCdevkit/VOC2012/";
  fs::remove(base + "SegmentationClass/2007_000000.png");
  fs::remove(base + "SegmentationClass/2007_000002.png");
  write_file_atomic(base + "ImageSets/Segmentation/train.txt",
                    std::string_view("2007_000000\n\n2007_000001\n2007_000002\nnone\nnada\n"));
  std::vector<std::string> problems;
  const auto data = make_dataset({"voc", folder.path()}, "train", &problems);
  CHECK(data->size() == 1);
  REQUIRE(problems.size() == 4);
  CHECK(has(problems[0], "train.txt:5: names none, but there is no such image"));
  CHECK(has(problems[1], "train.txt:6: names nada"));
  CHECK(has(problems[2], "2007_000000.jpg: has no label"));
  CHECK(has(problems[3], "2007_000002.jpg: has no label"));
  CHECK(has(error_of("voc", folder.path()), "names none, but there is no such image"));
  CHECK(has(error_of("voc", folder.path()), "(and 1 others)"));
}

TEST_CASE("lists of names") {
  const TemporaryFolder folder;
  const std::string path = folder / "list.txt";
  const auto names = [&](std::string_view text) {
    scratch(path, bytes_of(std::string(text)));
    std::string all;
    for (const auto& [name, line, text] : read_list(path)) all += fmt::format("{}@{} ", name, line);
    return all;
  };
  CHECK(names("a\nb\n") == "a@1 b@2 ");
  CHECK(names("\xef\xbb\xbf"
              "a  1\r\n\r\n\t b.c \r\nd.jpg\nx/e.JPEG y\nlast") == "a@1 b.c@3 d@4 e@5 last@6 ");
  for (const std::string_view bad :
       {std::string_view(""), std::string_view(" \n\r\n"), std::string_view("a\0b\n", 4)})
    CHECK(has(input_error([&] { names(bad); }), "list.txt"));
  CHECK(has(input_error([&] { names(std::string(5000, 'x')); }), "no file name"));
  RandomStream random({3});
  for (int round = 0; round < 300; ++round) {
    std::string text = "2007_000000\r\n2007_000001  \nx/y.jpg 1\n";
    for (int n = 0; n < 4; ++n) text[random.below(text.size())] = static_cast<char>(random.next());
    input_error([&] { names(text); });
  }
}

TEST_CASE("painted labels: classes by colour, a few others ignored, many refused") {
  const ColorClasses colors{{{255, 0, 0}, 0}, {{0, 0, 255}, 1}, {{0, 0, 0}, 255}};
  const Image image{1, 4, {255, 0, 0, 0, 0, 255, 0, 0, 0, 254, 0, 0}};
  CHECK(convert_colors(colors, image, "x").values == std::vector<std::uint8_t>{0, 1, 255, 255});
  const std::string error =
      input_error([&] { convert_colors(colors, noise_image(5, 5, 1), "y.png"); });
  CHECK(has(error, "y.png: most of its colours are no class's"));
  for (const char* kind : {"isaid", "potsdam"}) {
    const TemporaryFolder folder;
    make_miniature(kind, folder.path());
    const auto data = make_dataset({kind, folder.path()}, "train");
    const Image image_of = data->load_image(0);
    write_png(data->label_path(0), image_of);
    CHECK(has(input_error([&] { data->load(0); }), "most of its colours"));
  }
}

TEST_CASE("submissions carry the values, colours and names of the judges") {
  const TemporaryFolder folder;
  const LabelMap prediction{1, 3, {0, 1, 18}};
  for (const auto& [kind, expected] : expectations()) {
    CAPTURE(kind);
    make_miniature(kind, folder / kind);
    const auto data = make_dataset({kind, folder / kind}, "val");
    const Submission& s = data->submission();
    // What is written is what the labels say, where they say it.
    for (const auto& [value, k] : expected.mapping)
      if (k != 255 && kind != "loveda" && kind != "cocostuff")
        CHECK(s.values[static_cast<std::size_t>(k)] == value);
    CHECK((s.note.empty() == (kind == "camvid")));
  }
  const auto submission = [&](const std::string& kind) {
    return make_dataset({kind, folder / kind}, "val")->submission();
  };
  CHECK(submission("cityscapes").encode(prediction).values == std::vector<std::uint8_t>{7, 8, 33});
  CHECK(submission("cityscapes").file_name("a_000001_000019") == "a_000001_000019_leftImg8bit.png");
  CHECK(submission("ade20k").encode(prediction).values == std::vector<std::uint8_t>{1, 2, 19});
  CHECK(submission("loveda").encode(prediction).values == prediction.values);
  const Submission voc = submission("voc");
  REQUIRE(voc.palette.size() == 256);
  CHECK(voc.palette[1] == Color{128, 0, 0});
  CHECK(voc.palette[15] == Color{192, 128, 128});
  CHECK(voc.palette[20] == Color{0, 64, 128});
  CHECK(voc.palette[255] == Color{224, 224, 192});
  CHECK(voc.file_name("2007_000033") == "2007_000033.png");
  const FileBytes file = encode_png(voc.encode(prediction), voc.palette);
  CHECK(decode_label(file, "x").values == prediction.values);
  CHECK(decode_image(file, "x").pixels[3] == 128);
}

TEST_CASE("tables of the published sets at their corners") {
  CHECK(layouts::isaid_palette()[15] == Color{0, 100, 155});
  const TemporaryFolder folder;
  const auto data = [&](const std::string& kind) {
    make_miniature(kind, folder / kind);
    return make_dataset({kind, folder / kind}, "train");
  };
  const auto coco = data("cocostuff");
  CHECK(coco->classes()[79] == "toothbrush");
  CHECK(coco->classes()[80] == "banner");
  CHECK(coco->palette()[170] == Color{64, 64, 0});
  // The eleven values that COCO-Stuff does not use are errors, as is what lies above 181.
  for (const int v : {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90, 182, 254}) {
    LabelMap label = coco->load_label(0);
    label.values[0] = static_cast<std::uint8_t>(v);
    for (auto& value : label.values)
      if (value == 170) value = 181;
    const FileBytes before = read_file(coco->label_path(0));
    write_png(coco->label_path(0), label);
    CHECK(has(input_error([&] { coco->load(0); }), fmt::format("label {} at (0, 0)", v)));
    write_file_atomic(coco->label_path(0), before);
  }
  const auto context = data("context60");
  CHECK(context->classes()[55] == "tvmonitor");
  CHECK(context->palette()[0] == Color{120, 120, 120});
  CHECK(data("context59")->palette()[0] == Color{180, 120, 120});
  CHECK(data("cityscapes")->palette()[18] == Color{119, 11, 32});
  const auto ade = data("ade20k");
  CHECK(ade->classes()[7] == "bed");
  CHECK(ade->palette().size() == 150);
  CHECK(ade->palette()[149] == Color{92, 0, 255});
}

TEST_CASE("damaged labels of any set are an error that names them, or a map of its classes") {
  RandomStream random({11});
  for (const char* kind : {"voc", "isaid", "cityscapes"}) {
    const TemporaryFolder folder;
    make_miniature(kind, folder.path());
    const auto data = make_dataset({kind, folder.path()}, "train");
    for (std::int64_t i = 0; i < data->size(); ++i) {
      const std::string path = data->label_path(i);
      const FileBytes good = read_file(path);
      for (int round = 0; round < 150; ++round) {
        FileBytes bad = good;
        if (round % 3 == 0) bad.resize(random.below(bad.size()));
        for (int n = 0; n < 3 && !bad.empty(); ++n)
          bad[random.below(bad.size())] = static_cast<std::uint8_t>(random.next());
        scratch(path, bad);
        const std::string error = input_error([&] {
          for (const std::uint8_t v : data->load_label(i).values)
            if (v >= data->num_classes() && v != kIgnoreLabel) FAIL("class " << int{v});
        });
        if (!error.empty()) CHECK(error.find(path) == 0);
      }
    }
  }
}
