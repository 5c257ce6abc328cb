#include "tests/data/miniatures.h"

#include <fstream>
#include <functional>
#include <map>

#include "data/datasets/layouts/layout.h"
#include "data/images/image.h"
#include "tensor/error.h"
#include "tests/data/encoders.h"

namespace nextgrad::testing {
namespace {

namespace fs = std::filesystem;

struct Drawing {
  Image image;
  LabelMap label;  // values as in the file
};

// Six blocks of label values, each in a colour of its own with some texture.
Drawing draw(std::int64_t height, std::int64_t width, const std::vector<std::uint8_t>& values,
             std::size_t seed) {
  Drawing d{{height, width, {}}, {height, width, {}}};
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x) {
      const auto block = static_cast<std::size_t>(3 * x / width + 2 * y / height * 3);
      const std::uint8_t v = values[(block + seed) % values.size()];
      d.label.values.push_back(v);
      for (const int step : {61, 137, 199})
        d.image.pixels.push_back(
            static_cast<std::uint8_t>(20 + (v * step + 40) % 200 + (x * 7 + y * 13) % 16));
    }
  return d;
}

void put(const fs::path& path, const FileBytes& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

void put(const fs::path& path, const std::string& text) {
  put(path, bytes_of(text));
}

// What of a split is written: its name, the number of its first picture, and how many.
struct Split {
  std::string name;
  std::size_t first, count;
};
const std::vector<Split> kSplits{{"train", 0, 4}, {"val", 4, 2}, {"test", 6, 1}};

class Writer {
 public:
  Writer(std::string kind, fs::path root)
      : kind_(std::move(kind)), root_(std::move(root)), values_(miniature_values(kind_)) {}

  Drawing drawing(std::size_t i) const {
    static const std::vector<std::pair<int, int>> sizes{{47, 61}, {50, 72}, {64, 64}, {33, 90},
                                                        {51, 40}, {75, 75}, {41, 57}};
    return draw(sizes[i].first, sizes[i].second, values_, i);
  }
  void jpeg(const fs::path& path, std::size_t i) const {
    put(root_ / path, encode_jpeg(drawing(i).image, 95));
  }
  void png(const fs::path& path, std::size_t i) const {
    put(root_ / path, encode_png(drawing(i).image));
  }
  void label(const fs::path& path, std::size_t i, const Palette& palette = {}) const {
    put(root_ / path, encode_png(drawing(i).label, palette));
  }
  // Classes painted in their colours: value `first` + k in colour k, others black.
  void painted(const fs::path& path, std::size_t i, const Palette& palette, int first) const {
    const LabelMap label = drawing(i).label;
    Image image{label.height, label.width, {}};
    for (const std::uint8_t v : label.values) {
      const auto k = static_cast<std::size_t>(v - first);
      const Color color = v >= first && k < palette.size() ? palette[k] : Color{0, 0, 0};
      image.pixels.insert(image.pixels.end(), color.begin(), color.end());
    }
    put(root_ / path, encode_png(image));
  }
  void text(const fs::path& path, const std::string& content) const { put(root_ / path, content); }
  void bytes(const fs::path& path, const FileBytes& content) const { put(root_ / path, content); }

 private:
  std::string kind_;
  fs::path root_;
  std::vector<std::uint8_t> values_;
};

void ade20k(const Writer& w) {
  const fs::path base = "ADEChallengeData2016";
  for (const Split& s : kSplits) {
    const std::string folder = s.name == "train" ? "training" : "validation";
    for (std::size_t i = s.first; i < s.first + s.count; ++i) {
      const std::string name = fmt::format("ADE_{}_{:08}", s.name, i + 1);
      if (s.name == "test") {
        w.jpeg(base / "release_test/testing" / (name + ".jpg"), i);
        continue;
      }
      w.jpeg(base / "images" / folder / (name + ".jpg"), i);
      w.label(base / "annotations" / folder / (name + ".png"), i);
    }
  }
  w.text(base / "images/training/._ADE_train_00000001.jpg", "left by an archiver");
  w.text(base / "objectInfo150.txt", "Idx\tRatio\tTrain\tVal\tStuff\tName\n");
}

void cityscapes(const Writer& w) {
  for (const Split& s : kSplits)
    for (std::size_t i = s.first; i < s.first + s.count; ++i) {
      const std::string city = i % 2 == 0 ? "aachen" : "ulm";
      const std::string name = fmt::format("{}_{:06}_000019", city, i);
      w.png(fs::path("leftImg8bit") / s.name / city / (name + "_leftImg8bit.png"), i);
      const fs::path labels = fs::path("gtFine") / s.name / city;
      w.label(labels / (name + "_gtFine_labelIds.png"), i);
      w.png(labels / (name + "_gtFine_color.png"), i);
      w.text(labels / (name + "_gtFine_polygons.json"), "{}");
    }
}

void cocostuff(const Writer& w) {
  for (const Split& s : kSplits)
    for (std::size_t i = s.first; i < s.first + s.count; ++i) {
      const std::string name = fmt::format("{:012}", 1000 + i);
      w.jpeg(fs::path("images") / (s.name + "2017") / (name + ".jpg"), i);
      if (s.name != "test")
        w.label(fs::path("annotations") / (s.name + "2017") / (name + ".png"), i);
    }
}

// VOC2012 and VOC2010 alike; lists have blanks and CRLF in them.
void voc_like(const Writer& w, const fs::path& base, const std::string& labels,
              const std::string& lists, const Palette& palette) {
  for (const Split& s : kSplits) {
    std::string list;
    for (std::size_t i = s.first; i < s.first + s.count; ++i) {
      const std::string name = fmt::format("2007_{:06}", i);
      w.jpeg(base / "JPEGImages" / (name + (i == 1 ? ".JPG" : ".jpg")), i);
      if (s.name != "test") w.label(base / labels / (name + ".png"), i, palette);
      list += name + (i % 2 == 0 ? "\r\n" : "  \n");
    }
    if (s.name != "test" || labels == "SegmentationClass")
      w.text(base / "ImageSets" / lists / (s.name + ".txt"), list + "\n");
  }
}

void voc(const Writer& w) {
  const fs::path base = "VOCdevkit/VOC2012";
  Palette palette(256);
  for (std::size_t v = 0; v < 256; ++v)
    palette[v] = {static_cast<std::uint8_t>(v), 0, static_cast<std::uint8_t>(255 - v)};
  voc_like(w, base, "SegmentationClass", "Segmentation", palette);
  w.text(base / "ImageSets/Segmentation/trainval.txt",
         "2007_000000\n2007_000001\n2007_000002\n2007_000003\n2007_000004\n2007_000005\n");
  w.jpeg(base / "JPEGImages/2008_000007.jpg", 3);  // an image of no list, as most are
}

void vocaug(const Writer& w) {
  const fs::path base = "VOCdevkit/VOC2012";
  voc(w);
  w.text(base / "ImageSets/Segmentation/aug.txt", "2008_000007\n2007_000000\n");
  w.label(base / "SegmentationClassAug/2008_000007.png", 3);
  w.label(base / "SegmentationClassAug/2007_000000.png", 1);
}

void context(const Writer& w) {
  voc_like(w, "VOCdevkit/VOC2010", "SegmentationClassContext", "SegmentationContext", {});
}

void isaid(const Writer& w) {
  const Palette palette = layouts::isaid_palette();
  for (const Split& s : kSplits)
    for (std::size_t i = s.first; i < s.first + s.count; ++i) {
      const std::string name = fmt::format("P{:04}_0_896_0_896", i);
      const fs::path image = fs::path("img_dir") / s.name / (name + ".png");
      // MMSegmentation's converter writes BMP files under the name of a PNG.
      if (i == 1)
        w.bytes(image, bmp_file(w.drawing(i).image, 24, false));
      else
        w.png(image, i);
      const fs::path label = fs::path("ann_dir") / s.name / (name + "_instance_color_RGB.png");
      if (i == 2)  // JSeg's copies small pictures' labels as they are painted
        w.painted(label, i, palette, 0);
      else if (s.name != "test")
        w.label(label, i, palette);
    }
}

void loveda(const Writer& w) {
  for (const Split& s : kSplits)
    for (std::size_t i = s.first; i < s.first + s.count; ++i)
      for (const std::string scene : {"Rural", "Urban"}) {
        if ((i % 2 == 0) != (scene == "Rural") && s.name != "test") continue;
        const std::string folder = s.name == "train" ? "Train" : s.name == "val" ? "Val" : "Test";
        const std::string name = fmt::format("{}.png", scene == "Rural" ? i : 1000 + i);
        w.png(fs::path(folder) / scene / "images_png" / name, i);
        if (s.name != "test") w.label(fs::path(folder) / scene / "masks_png" / name, i);
      }
}

void isprs(const Writer& w) {
  const Palette palette{{255, 255, 255}, {0, 0, 255},   {0, 255, 255},
                        {0, 255, 0},     {255, 255, 0}, {255, 0, 0}};
  for (const Split& s : kSplits)
    for (std::size_t i = s.first; i < s.first + s.count && s.name != "test"; ++i) {
      const std::string name = fmt::format("2_10_{}_0_{}_512.png", 512 * i, 512 * (i + 1));
      w.png(fs::path("img_dir") / s.name / name, i);
      const fs::path label = fs::path("ann_dir") / s.name / name;
      if (i == 1)
        w.painted(label, i, palette, 1);
      else
        w.label(label, i);
    }
}

void camvid(const Writer& w) {
  for (const Split& s : kSplits)
    for (std::size_t i = s.first; i < s.first + s.count; ++i) {
      const std::string name = fmt::format("0001TP_{:06}", i);
      w.jpeg(fs::path("images") / s.name / (name + ".jpg"), i);
      w.label(fs::path("labels") / s.name / (name + ".png"), i);
    }
}

void folder(const Writer& w) {
  std::string description = "classes = [\"leaf\", \"stem\", \"root\"]\n";
  for (const Split& s : kSplits) {
    if (s.name == "test") continue;
    description += fmt::format("[{0}]\nimages = \"photos/{0}\"\nlabels = \"masks/{0}\"\n", s.name);
    for (std::size_t i = s.first; i < s.first + s.count; ++i) {
      w.png(fs::path("photos") / s.name / fmt::format("{}.png", i), i);
      w.label(fs::path("masks") / s.name / fmt::format("{}.png", i), i);
    }
  }
  w.text("data.toml", description);
}

struct Miniature {
  std::function<void(const Writer&)> write;
  std::vector<std::uint8_t> values;
};

const Miniature& miniature(const std::string& kind) {
  static const std::map<std::string, Miniature> all{
      {"ade20k", {ade20k, {0, 1, 2, 13, 150}}},
      {"cityscapes", {cityscapes, {0, 7, 8, 26, 33, 3, 9}}},
      {"cocostuff", {cocostuff, {0, 10, 12, 255, 91, 181}}},
      {"voc", {voc, {0, 1, 15, 255, 20}}},
      {"vocaug", {vocaug, {0, 1, 15, 255, 20}}},
      {"context59", {context, {0, 1, 2, 59}}},
      {"context60", {context, {0, 1, 2, 59}}},
      {"isaid", {isaid, {0, 1, 9, 15}}},
      {"loveda", {loveda, {0, 1, 2, 7}}},
      {"potsdam", {isprs, {0, 1, 2, 6}}},
      {"vaihingen", {isprs, {0, 1, 2, 6}}},
      {"camvid", {camvid, {0, 3, 11, 10}}},
      {"folder", {folder, {0, 1, 2, 255}}}};
  const auto at = all.find(kind);
  check(at != all.end(), "no miniature of {}", kind);
  return at->second;
}

}  // namespace

std::vector<std::uint8_t> miniature_values(const std::string& kind) {
  return miniature(kind).values;
}

void make_miniature(const std::string& kind, const fs::path& root) {
  miniature(kind).write(Writer(kind, root));
}

}  // namespace nextgrad::testing
