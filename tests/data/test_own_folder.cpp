// One's own pictures, described in TOML: what labels may be, where files may lie, lists of a split.
#include <doctest/doctest.h>

#include <filesystem>

#include "data/datasets/dataset.h"
#include "data/files/file.h"
#include "data/scores/dataset_statistics.h"
#include "tests/data/encoders.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;

namespace {

namespace fs = std::filesystem;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A folder with data.toml beside img/ and ann/.
struct Own {
  TemporaryFolder folder;
  Own() {
    for (const char* part : {"img", "ann"}) fs::create_directories(folder.path() + "/" + part);
  }
  void describe(const std::string& top, const std::string& more = "",
                const std::string& after = "") const {
    write_file_atomic(
        folder / "data.toml",
        std::string_view("classes = [\"bg\", \"a\", \"b\"]\n" + top +
                         "\n[train]\nimages = \"img\"\nlabels = \"ann\"\n" + more + "\n" + after));
  }
  void add(const std::string& name, const FileBytes& label) const {
    write_png(folder / ("img/" + name + ".png"), noise_image(1, 4, 1));
    write_file_atomic(folder / ("ann/" + name + ".png"), label);
  }
  void add(const std::string& name) const { add(name, encode_png(LabelMap{1, 4, {0, 1, 2, 255}})); }
  std::unique_ptr<Dataset> open(std::vector<std::string>* problems = nullptr) const {
    return make_dataset({"folder", folder / "data.toml"}, "train", problems);
  }
  std::vector<std::string> names() const {
    const auto data = open();
    std::vector<std::string> names;
    for (std::int64_t i = 0; i < data->size(); ++i) names.push_back(data->name(i));
    return names;
  }
  std::vector<std::uint8_t> label() const { return open()->load(0).label.values; }
  std::string error() const {
    const std::string message = input_error([&] { label(); });
    CHECK(!has(message, "\n"));
    return message;
  }
};

using Values = std::vector<std::uint8_t>;
using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("[values] says what each value of the labels stands for") {
  const Own own;
  own.add("x", encode_png(LabelMap{1, 4, {0, 128, 255, 7}}));
  const std::string values = "[values]\n0 = \"bg\"\n128 = \"ignore\"\n255 = \"b\"\n";
  own.describe("", "", values + "7 = \"a\"\n");
  CHECK(own.label() == Values{0, 255, 2, 1});
  CHECK(own.open()->ignored_values() == std::vector<int>{128});
  CHECK(dataset_splits({"folder", own.folder / "data.toml"}) == Names{"train"});
  own.describe("values = { 0 = \"bg\", 128 = \"bg\", 255 = \"b\", 7 = \"bg\" }");  // classes merged
  CHECK(own.label() == Values{0, 0, 2, 0});
  CHECK(own.open()->ignored_values().empty());
  own.describe("", "", values);
  CHECK(has(own.error(), "x.png: label 7 at (3, 0)"));
  CHECK(has(own.error(), "data.toml"));
}

TEST_CASE("a picture alone is read without its label") {
  const Own own;
  own.describe("");
  own.add("x", {1, 2, 3});
  CHECK_THROWS_AS(own.open()->load(0), InputError);
  CHECK(own.open()->load_image(0).pixels == noise_image(1, 4, 1).pixels);
}

TEST_CASE("[values] above 255, in labels of 16 bits") {
  const Own own;
  own.add("x", png_file({4, 1, 16, 0}, {0x03, 0xe8, 0, 1, 0xff, 0xff, 0x03, 0xe8}));
  own.describe("", "", "[values]\n1000 = \"a\"\n1 = \"b\"\n65535 = \"ignore\"\n");
  CHECK(own.label() == Values{1, 2, 255, 1});
  CHECK(own.open()->ignored_values() == std::vector<int>{65535});
  own.add("x", encode_png(LabelMap{1, 4, {1, 1, 1, 9}}));  // 8 bits go through the same table
  CHECK(has(own.error(), "label 9 at (3, 0)"));
  own.describe("");
  own.add("x", png_file({4, 1, 16, 0}, {0x03, 0xe8, 0, 1, 0xff, 0xff, 0x03, 0xe8}));
  CHECK(has(own.error(), "label 1000 at (0, 0)"));
  own.add("x", png_file({4, 1, 16, 0}, {1, 0, 0, 255, 1, 0, 0, 255}));  // where 8 bits end
  own.describe("", "", "[values]\n256 = \"a\"\n255 = \"b\"\n");
  CHECK(own.label() == Values{1, 2, 1, 2});
}

TEST_CASE("[values] with mistakes: the line is told") {
  const Own own;
  own.add("x");
  const auto said = [&](const std::string& top, const std::string& values) {
    own.describe(top, "", "[values]\n" + values);
    return own.error();
  };
  CHECK(has(said("", "0 = \"bq\""), "data.toml: line 8: [values] 0 = \"bq\" is no class, did you"));
  CHECK(has(said("", "0 = 1"), "line 8: [values] 0 wants"));
  CHECK(has(said("", "256000 = \"bg\""), "line 8: [values] has \"256000\""));
  CHECK(has(said("", "-1 = \"bg\""), "line 8: [values] has"));
  CHECK(has(said("", "x = \"bg\""), "is no number of 0 to 65535"));
  CHECK(has(said("", "0 = \"bg\"\n00 = \"a\""), "line 9: [values] has 0 twice"));
  CHECK(has(said("", ""), "values wants lines such as"));
  CHECK(has(said("ignore_label = 3", "0 = \"bg\""), "line 2: ignore_label beside [values]"));
  CHECK(has(said("reduce_zero_label = true", "0 = \"bg\""), "reduce_zero_label beside [values]"));
  write_file_atomic(own.folder / "data.toml",
                    std::string_view("classes = [\"ignore\", \"a\"]\n[train]\nimages = \"img\"\n"
                                     "labels = \"ann\"\n[values]\n0 = \"ignore\"\n"));
  CHECK(has(own.error(), "line 6: [values] 0 = \"ignore\": is that the class of this name?"));
  write_file_atomic(own.folder / "data.toml",
                    std::string_view("classes = [\"a\",\n\"a\"]\n[train]\nimages = \"img\"\n"
                                     "labels = \"ann\"\n"));
  CHECK(has(own.error(), "line 2: class \"a\" is there twice"));
  own.describe("", "", "[values]\n0 = \"bg\"\n");
  CHECK(has(input_error([&] {
              make_dataset({"folder", own.folder / "data.toml"}, "values");
            }),
            "no split [values]"));
}

TEST_CASE("labels in colours are read by the palette, each colour exactly") {
  const Own own;
  const std::string palette = "palette = [[0,0,0],[128,0,0],[0,128,0]]\n";
  const auto painted = [](const std::vector<Color>& colors) {
    Image image{1, 4, {}};
    for (const Color& c : colors) image.pixels.insert(image.pixels.end(), c.begin(), c.end());
    return image;
  };
  const Image good = painted({{128, 0, 0}, {0, 0, 0}, {0, 128, 0}, {0, 128, 0}});
  own.add("x", encode_png(good));
  own.describe(palette);
  CHECK(own.label() == Values{1, 0, 2, 2});
  own.add("x", png_file({4, 1, 8, 6}, {128, 0, 0, 255, 0, 0, 0, 0, 0, 128, 0, 9, 0, 0, 0, 255}));
  CHECK(own.label() == Values{1, 0, 2, 0});  // with alpha
  own.add("x", encode_png(painted({{128, 0, 0}, {129, 0, 0}, {0, 0, 1}, {0, 0, 0}})));
  CHECK(has(own.error(), "ann/x.png: colour [129, 0, 0] at (1, 0) and 1 other pixels"));
  CHECK(has(own.error(), "data.toml"));
  own.describe(palette + "ignore_colors = [[129,0,0],[0,0,1]]");
  CHECK(own.label() == Values{1, 255, 255, 0});
  own.add("x", encode_png(LabelMap{1, 4, {0, 1, 2, 255}}));  // numbers stay numbers
  CHECK(own.label() == Values{0, 1, 2, 255});
  own.add("x", encode_png(good));
  own.describe("");
  CHECK(has(own.error(), "say in " + own.folder.path() + "/data.toml which colour is which class"));
  own.describe("ignore_colors = [[1,2,3]]");
  CHECK(has(own.error(), "line 2: ignore_colors without palette"));
  own.describe("palette = [[0,0,0],[1,1,1],[0,0,0]]");
  CHECK(has(own.error(), "line 2: colour [0, 0, 0] is there twice"));
  own.describe(palette + "ignore_colors = [[0,128,0]]");
  CHECK(has(own.error(), "colour [0, 128, 0] is there twice"));
  own.describe(palette + "ignore_colors = [[0,128]]");
  CHECK(has(own.error(), "line 3: ignore_colors entry 0"));
}

TEST_CASE("sub-folders belong to the data set, their names to the samples'") {
  const Own own;
  for (const char* name : {"x0", "more/x0", "more/deep/x1"}) own.add(name);
  own.describe("");
  CHECK(own.names() == Names{"more/deep/x1", "more/x0", "x0"});
  CHECK(has(own.open()->load(1).name, "more/x0"));
  CHECK(has(own.open()->label_path(1), "ann/more/x0.png"));
  fs::remove(own.folder.path() + "/ann/more/x0.png");
  CHECK(has(own.error(), "img/more/x0.png: has no label more/x0.png"));
  own.add("more/x0");
  write_png(own.folder / "ann/other/x0.png", LabelMap{1, 4, {0, 1, 2, 255}});
  CHECK(has(own.error(), "ann/other/x0.png: has no image"));
  fs::remove_all(own.folder.path() + "/ann/other");
  write_file_atomic(own.folder / "img/more/._x0.png", std::string_view("Mac"));
  write_file_atomic(own.folder / "ann/.ipynb_checkpoints/x0.png", std::string_view("?"));
  CHECK(own.names().size() == 3);
  fs::create_symlink("nowhere", own.folder.path() + "/img/more/z.png");
  CHECK(has(own.error(), "img/more/z.png: is a link that leads nowhere"));
}

TEST_CASE("folders of labels and of other splits are not sub-folders of this one") {
  const Own own;
  own.add("x");
  for (const char* part : {"img", "ann"}) {
    fs::create_directories(own.folder.path() + "/all/" + part + "s");
    fs::copy(own.folder.path() + "/" + part + "/x.png",
             own.folder.path() + "/all/" + (part[0] == 'a' ? "anns/" : "") + "x.png");
  }
  fs::create_directories(own.folder.path() + "/all/val/anns");
  fs::copy(own.folder.path() + "/img/x.png", own.folder.path() + "/all/val/v.png");
  fs::copy(own.folder.path() + "/ann/x.png", own.folder.path() + "/all/val/anns/v.png");
  write_file_atomic(own.folder / "data.toml",
                    std::string_view("classes = [\"bg\", \"a\", \"b\"]\n"
                                     "[train]\nimages = \"all\"\nlabels = \"all/anns\"\n"
                                     "[val]\nimages = \"all/val\"\nlabels = \"all/val/anns\"\n"));
  CHECK(own.names() == Names{"x"});
}

TEST_CASE("a list of a split: names or paths, with or without suffix, as any system writes them") {
  const Own own;
  for (const char* name : {"x0", "x1", "x2", "a b/x 3", "a b/x4"}) own.add(name);
  own.describe("", "list = \"train.txt\"");
  const auto listed = [&](const std::string& text) {
    write_file_atomic(own.folder / "train.txt", std::string_view(text));
    return own.names();
  };
  const std::string root = own.folder.path();
  CHECK(listed("\xef\xbb\xbfx2\r\n\r\n x0.png \r\na b/x 3\r\n") == Names{"x2", "x0", "a b/x 3"});
  CHECK(listed("img/x1.png\n./img/a b/x 3.PNG\n" + root + "/img/x0.png\nann/x2.png") ==
        Names{"x1", "a b/x 3", "x0", "x2"});
  CHECK(listed("/elsewhere/img/x1\nimg\\a b\\x4.png\n") == Names{"x1", "a b/x4"});
  CHECK(listed("img/x1.png ann/x1.png\nx0.png,x0.png\nx2 1\n") == Names{"x1", "x0", "x2"});
  const auto refused = [&](const std::string& text) { return input_error([&] { listed(text); }); };
  CHECK(has(refused("x0\nx9\n"), "train.txt:2: names x9, but there is no such image in"));
  CHECK(has(refused("other/x0.png\n"), "names other/x0.png, but there is no such image"));
  CHECK(has(refused("x4\n"), "names x4"));  // it is a b/x4
  CHECK(has(refused("x0\nx1\nimg/x0.png\n"), "train.txt:3: names img/x0.png, as line 1 does"));
  CHECK(has(refused("img/x1.png ann/x2.png\n"), "train.txt:1: ann/x2.png is not the label of x1"));
  CHECK(has(refused("\r\n\n"), "names no image"));
  own.describe("", "list = 3");
  CHECK(has(own.error(), "line 6: list is no text"));
  own.describe("", "list = \"\"");
  CHECK(has(own.error(), "[train] wants list = \"a text file\""));
  own.describe("", "list = \"none.txt\"");
  CHECK(has(own.error(), "none.txt: cannot read"));
}

TEST_CASE("a picture finds its label whichever way their accents are written") {
  const Own own;
  const std::string composed =
                        "gr\xc3\xb6\xc3\x9f"
                        "e",
                    apart =
                        "gro\xcc\x88\xc3\x9f"
                        "e";
  write_png(own.folder / ("img/" + apart + ".png"), noise_image(1, 4, 1));
  write_png(own.folder / ("ann/" + composed + ".png"), LabelMap{1, 4, {0, 1, 2, 255}});
  own.describe("");
  CHECK(own.names() == Names{apart});  // the picture's own
  write_file_atomic(own.folder / "list.txt", std::string_view(composed + "\n"));
  own.describe("", "list = \"list.txt\"");
  CHECK(own.names() == Names{apart});
  own.describe("");
  write_png(own.folder / ("img/" + composed + ".png"), noise_image(1, 4, 1));
  CHECK(has(own.error(), "have the same name"));
  fs::remove(own.folder.path() + "/img/" + composed + ".png");
  own.add("\xff\xfe");  // no UTF-8: itself
  CHECK(own.names().size() == 2);
}

TEST_CASE("labels of a turned picture: what EXIF did is told") {
  const Own own;
  own.describe("");
  write_file_atomic(own.folder / "img/x.jpg",
                    with_orientation(encode_jpeg(noise_image(6, 8, 1)), 6, true));
  write_png(own.folder / "ann/x.png", LabelMap{6, 8, Values(48, 1)});
  CHECK(has(own.error(), "ann/x.png: 8 x 6 labels for the 6 x 8 pixels"));
  CHECK(has(own.error(), "EXIF orientation (6) turned the picture"));
  CHECK(has(measure(*own.open(), 0).problem, "EXIF orientation (6)"));
  write_png(own.folder / "ann/x.png", LabelMap{8, 6, Values(48, 1)});
  CHECK(own.error().empty());
  write_png(own.folder / "ann/x.png", LabelMap{8, 7, Values(56, 1)});
  write_file_atomic(own.folder / "img/x.jpg", encode_jpeg(noise_image(6, 8, 1)));
  CHECK(has(own.error(), "make them the same size"));
  // Labels that say they are turned themselves.
  write_file_atomic(own.folder / "ann/x.png",
                    with_exif(encode_png(LabelMap{8, 6, Values(48, 1)}), 6, false));
  CHECK(has(own.error(), "ann/x.png: labels with EXIF orientation 6"));
  own.describe("palette = [[0,0,0],[1,1,1],[2,2,2]]");
  write_file_atomic(own.folder / "ann/x.png", with_exif(encode_png(noise_image(8, 6, 1)), 6, true));
  CHECK(has(own.error(), "ann/x.png: labels with EXIF orientation 6"));
}

TEST_CASE("what is no file of a data set says what it is") {
  const Own own;
  CHECK(has(input_error([&] {
              make_dataset({"folder", own.folder.path()}, "train");
            }),
            "is a folder"));
  own.add("x");
  own.describe("");
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
  for (const char* path : {"img/x.png", "ann/x.png", "data.toml"}) {
    CAPTURE(path);
    const FileBytes before = read_file(own.folder / path);
    write_file_atomic(own.folder / path, std::string_view(pointer));
    CHECK(has(own.error(), fmt::format("{}: is a Git LFS pointer", path)));
    write_file_atomic(own.folder / path, before);
  }
  for (const char* path : {"img/x.png", "ann/x.png"}) {
    write_file_atomic(own.folder / path, std::string_view(""));
    CHECK(has(own.error(), fmt::format("{}: is empty", path)));
    own.add("x");
  }
}
