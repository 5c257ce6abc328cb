// Large pictures cut into patches: the same as cutting the whole picture, in bounded memory.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "data/datasets/isaid_patches.h"
#include "data/datasets/layouts/layout.h"
#include "data/datasets/patches.h"
#include "data/files/file.h"
#include "data/images/png_rows.h"
#include "tests/data/encoders.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;

namespace fs = std::filesystem;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// The loop of MMSegmentation's converter, which cuts some patches twice.
std::set<std::int64_t> published_starts(std::int64_t length, std::int64_t patch,
                                        std::int64_t overlap) {
  length = std::max(length, patch);
  std::set<std::int64_t> starts;
  for (std::int64_t at = 0; at < length; at += patch - overlap)
    starts.insert(at + patch > length ? length - patch : at);
  return starts;
}

// The patch of a whole picture, padded.
std::vector<std::uint8_t> patch_of(const std::vector<std::uint8_t>& pixels, std::int64_t height,
                                   std::int64_t width, std::int64_t channels, std::int64_t top,
                                   std::int64_t left, std::int64_t patch, std::uint8_t pad) {
  std::vector<std::uint8_t> out;
  for (std::int64_t y = top; y < top + patch; ++y)
    for (std::int64_t x = left; x < left + patch; ++x)
      for (std::int64_t c = 0; c < channels; ++c)
        out.push_back(y < height && x < width
                          ? pixels[static_cast<std::size_t>((y * width + x) * channels + c)]
                          : pad);
  return out;
}

Image paint(const LabelMap& label) {
  Image image{label.height, label.width, {}};
  for (const std::uint8_t k : label.values) {
    const Color color = layouts::isaid_palette()[k];
    image.pixels.insert(image.pixels.end(), color.begin(), color.end());
  }
  return image;
}

// train/images/NAME.png and train/Semantic_masks/NAME_instance_color_RGB.png.
void put_picture(const TemporaryFolder& folder, const std::string& name, const Image& image,
                 const LabelMap& label) {
  write_png(folder / ("train/images/" + name + ".png"), image);
  write_png(folder / ("train/Semantic_masks/" + name + "_instance_color_RGB.png"), paint(label));
}

struct Cut {
  explicit Cut(const TemporaryFolder& folder, std::int64_t size = 32, std::int64_t overlap = 12) {
    fs::create_directories(folder / "out/img_dir/train");
    fs::create_directories(folder / "out/ann_dir/train");
    options.size = size;
    options.overlap = overlap;
    options.images = folder / "out/img_dir/train";
    options.labels = folder / "out/ann_dir/train";
    pictures = find_isaid_pictures(folder.path(), "train", problems);
  }
  PatchOptions options;
  std::vector<std::string> problems;
  std::vector<IsaidPicture> pictures;
};

}  // namespace

TEST_CASE("patches begin where MMSegmentation's converter begins them") {
  for (std::int64_t length = 1; length < 400; ++length)
    for (const auto& [patch, overlap] :
         std::vector<std::pair<std::int64_t, std::int64_t>>{{32, 12}, {50, 0}, {64, 63}, {7, 3}}) {
      const auto starts = patch_starts(length, patch, overlap);
      const auto wanted = published_starts(length, patch, overlap);
      CHECK(starts == std::vector<std::int64_t>(wanted.begin(), wanted.end()));
    }
  CHECK(patch_starts(2000, 896, 384) == std::vector<std::int64_t>{0, 512, 1024, 1104});
  CHECK_THROWS_AS(patch_starts(10, 5, 5), Error);
  CHECK_THROWS_AS(patch_starts(0, 5, 2), Error);
  CHECK(patch_name("P0003", 512, 1024, 896) == "P0003_512_1408_1024_1920");
}

TEST_CASE("cut by rows = cut from the whole picture") {
  for (const auto& [h, w] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {70, 101}, {32, 32}, {20, 50}, {50, 20}, {5, 9}, {33, 31}, {32, 90}}) {
    for (const std::int64_t channels : {1, 3}) {
      const auto pixels = noise_image(h, w, 3).pixels;
      const PatchGrid grid{h, w, channels, 32, 12, 255};
      std::set<std::pair<std::int64_t, std::int64_t>> seen;
      std::int64_t rows = 0, last = h;
      const auto next = [&](std::span<std::uint8_t> row) {
        if (rows == last) return false;
        REQUIRE(row.size() == static_cast<std::size_t>(w * channels));
        std::copy_n(pixels.begin() + rows++ * w * channels, w * channels, row.begin());
        return true;
      };
      const auto take = [&](std::int64_t top, std::int64_t left, const auto& patch) {
        CHECK(rows == std::min(h, top + 32));  // none is read before its time
        CHECK(seen.insert({top, left}).second);
        CHECK(patch == patch_of(pixels, h, w, channels, top, left, 32, 255));
      };
      CHECK(cut_patches(grid, next, take));
      CHECK(seen.size() == grid.tops().size() * grid.lefts().size());
      rows = 0, last = h - 1;
      CHECK_FALSE(cut_patches(grid, next, [](std::int64_t, std::int64_t, const auto&) {}));
    }
  }
}

TEST_CASE("a PNG by rows is the picture; damage is named") {
  const TemporaryFolder folder;
  const std::string path = folder / "x.png";
  const Image image = noise_image(23, 17, 4);
  const auto rows = [&] {
    PngRows reader(path);
    Image out{reader.height(), reader.width(), {}};
    std::vector<std::uint8_t> row(static_cast<std::size_t>(3 * reader.width()));
    for (std::int64_t y = 0; y < reader.height(); ++y) {
      reader.next(row);
      out.pixels.insert(out.pixels.end(), row.begin(), row.end());
    }
    CHECK_THROWS_AS(reader.next(row), Error);
    return out;
  };
  for (const FileBytes& file :
       {encode_png(image), encode_png(noise_label(9, 11, 7, 1), Palette{{1, 2, 3}, {4, 5, 6}}),
        encode_png(noise_label(9, 11, 7, 1)), png_file({9, 4, 2, 0}, FileBytes(12, 0xb1)),
        png_file({5, 4, 16, 2}, FileBytes(5 * 4 * 6, 77))}) {
    write_file_atomic(path, file);
    CHECK(rows().pixels == decode_image(file, "x").pixels);
    for (std::size_t n = 0; n + 4 < file.size(); ++n) {
      scratch(path, std::span(file).first(n));
      CHECK(input_error(rows).find(path) == 0);
    }
  }
  CHECK(has(input_error([] { PngRows("/no/such.png"); }), "/no/such.png"));
  CHECK(has(input_error([&] { PngRows(folder.path()); }), "no readable file"));
  write_file_atomic(path, png_file({13, 9, 8, 2, true}, FileBytes(13 * 9 * 3, 9)));
  CHECK(has(input_error(rows), "is interlaced"));
  FileBytes huge = encode_png(image);
  huge[16] = 0x7f;
  write_file_atomic(path, huge);
  CHECK(!input_error(rows).empty());
  RandomStream random({5});
  const FileBytes good = encode_png(image);
  for (int round = 0; round < 200; ++round) {
    FileBytes bad = good;
    for (int n = 0; n < 3; ++n)
      bad[random.below(bad.size())] = static_cast<std::uint8_t>(random.next());
    scratch(path, bad);
    input_error(rows);
  }
}

TEST_CASE("iSAID's pictures become patches with labels beside them") {
  const TemporaryFolder folder;
  const Image large = noise_image(70, 101, 1), small = noise_image(20, 50, 2);
  const LabelMap large_label = noise_label(70, 101, 16, 3),
                 small_label = noise_label(20, 50, 16, 4);
  put_picture(folder, "P0001", large, large_label);
  put_picture(folder, "P0002", small, small_label);
  write_png(folder / "train/Instance_masks/P0001_instance_id_RGB.png", large);
  write_file_atomic(folder / "train/images/._P0001.png", std::string_view("x"));
  Cut cut(folder);
  CHECK(cut.problems.empty());
  REQUIRE(cut.pictures.size() == 2);
  const PatchCount count = cut_isaid_picture(cut.pictures[0], cut.options);
  const std::int64_t patches = 3 * 5;  // starts 0, 20, 38 and 0, 20, 40, 60, 69
  CHECK(count.written == 2 * patches);
  CHECK(count.kept == 0);
  CHECK(count.unknown == 0);
  for (const std::int64_t top : patch_starts(70, 32, 12))
    for (const std::int64_t left : patch_starts(101, 32, 12)) {
      const std::string name = patch_name("P0001", top, left, 32);
      CHECK(read_image(folder / ("out/img_dir/train/" + name + ".png")).pixels ==
            patch_of(large.pixels, 70, 101, 3, top, left, 32, 0));
      CHECK(read_label(folder / ("out/ann_dir/train/" + name + "_instance_color_RGB.png")).values ==
            patch_of(large_label.values, 70, 101, 1, top, left, 32, 255));
    }
  cut_isaid_picture(cut.pictures[1], cut.options);
  CHECK(read_label(folder / "out/ann_dir/train/P0002_0_32_18_50_instance_color_RGB.png").values ==
        patch_of(small_label.values, 20, 50, 1, 0, 18, 32, 255));
  // The result is a data set.
  const auto data = make_dataset({"isaid", folder / "out"}, "train");
  CHECK(data->size() == patches + 2);
  for (std::int64_t i = 0; i < data->size(); ++i) CHECK(data->load(i).label.width == 32);
}

TEST_CASE("cutting continues where it stopped and makes nothing twice") {
  const TemporaryFolder folder;
  put_picture(folder, "P0001", noise_image(70, 101, 1), noise_label(70, 101, 16, 3));
  Cut cut(folder);
  double last = -1;
  cut.options.step = [&](double share) {  // stopped after the labels, within the image
    CHECK(share > last);
    last = share;
    return share >= 0.75;
  };
  const PatchCount first = cut_isaid_picture(cut.pictures[0], cut.options);
  CHECK(first.stopped);
  CHECK(first.written > 15);
  CHECK(first.written < 30);
  const std::string kept = folder / "out/img_dir/train/P0001_0_32_0_32.png";
  REQUIRE(fs::exists(kept));
  write_file_atomic(kept, std::string_view("not made again"));
  cut.options.step = nullptr;
  const PatchCount second = cut_isaid_picture(cut.pictures[0], cut.options);
  CHECK(first.written + second.written == 30);
  CHECK(second.kept == first.written);
  CHECK(read_file(kept).size() == 14);
  // Once complete, not even damaged sources matter: only their headers are read.
  const FileBytes whole = read_file(cut.pictures[0].image);
  write_file_atomic(cut.pictures[0].image, FileBytes(whole.begin(), whole.end() - 99));
  const PatchCount third = cut_isaid_picture(cut.pictures[0], cut.options);
  CHECK(third.written == 0);
  CHECK(third.kept == 30);
}

TEST_CASE("what is wrong with iSAID's files is told") {
  const TemporaryFolder folder;
  std::vector<std::string> problems;
  CHECK(find_isaid_pictures(folder.path(), "val", problems).empty());
  fs::create_directories(folder / "train/images/x");
  CHECK(has(input_error([&] { find_isaid_pictures(folder.path(), "train", problems); }),
            "holds no PNG"));
  const Image image = noise_image(40, 40, 1);
  put_picture(folder, "P1", image, noise_label(40, 40, 16, 1));
  write_png(folder / "train/images/P2.png", image);
  write_png(folder / "train/Semantic_masks/P3_instance_color_RGB.png", image);
  write_png(folder / "train/more/P1.png", image);
  {
    const Cut cut(folder);
    CHECK(cut.pictures.size() == 1);
    REQUIRE(cut.problems.size() == 3);
    CHECK(has(cut.problems[0], "P1.png: has the name of"));
    CHECK(has(cut.problems[1], "P2.png: has no label P2_instance_color_RGB.png"));
    CHECK(has(cut.problems[2], "P3_instance_color_RGB.png: has no image P3.png"));
  }
  fs::remove_all(folder / "train");
  const std::string label = folder / "train/Semantic_masks/P1_instance_color_RGB.png";
  const auto error = [&] {
    const Cut cut(folder);
    return input_error([&] { cut_isaid_picture(cut.pictures.at(0), cut.options); });
  };
  put_picture(folder, "P1", image, noise_label(40, 41, 16, 1));
  CHECK(has(error(), "41 x 40 labels for the 40 x 40 pixels"));
  write_png(label, noise_image(40, 40, 2));
  CHECK(has(error(), "most of its colours"));
  CHECK(list_files(folder / "out/ann_dir/train", {".png"}).empty());
  write_png(label, noise_label(40, 40, 16, 1));
  CHECK(has(error(), "is grey"));
  Image painted = paint(noise_label(40, 40, 16, 1));
  painted.pixels[0] = 200;
  write_png(label, painted);
  const Cut cut(folder);
  CHECK(cut_isaid_picture(cut.pictures[0], cut.options).unknown == 1);
  CHECK(read_label(folder / "out/ann_dir/train/P1_0_32_0_32_instance_color_RGB.png").values[0] ==
        kIgnoreLabel);
}
