// Class folders and idx files, also damaged ones.
#include <doctest/doctest.h>
#include <zlib.h>

#include <algorithm>
#include <set>

#include "data/datasets/dataset.h"
#include "data/files/file.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;

namespace {

using Bytes = std::vector<std::uint8_t>;

void add_picture(const TemporaryFolder& folder, const std::string& path, std::uint8_t value) {
  write_png(folder / path, Image{4, 4, Bytes(48, value)});
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

Bytes idx(const std::vector<std::uint32_t>& extents, const Bytes& values) {
  Bytes file{0, 0, 8, static_cast<std::uint8_t>(extents.size())};
  for (const std::uint32_t e : extents)
    for (const int shift : {24, 16, 8, 0}) file.push_back(static_cast<std::uint8_t>(e >> shift));
  file.insert(file.end(), values.begin(), values.end());
  return file;
}

Bytes gzip(const Bytes& plain) {
  z_stream stream = {};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  Bytes in = plain, out(plain.size() + 1000);
  stream.next_in = in.data();
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string refusal(const std::string& kind, const std::string& root, const std::string& split,
                    double val_share = 0) {
  return input_error([&] { make_class_dataset({kind, root, val_share, 0}, split); });
}

}  // namespace

TEST_CASE("class folders: classes are train's folders, sorted; suffixes in any case") {
  const TemporaryFolder folder;
  add_picture(folder, "train/n02/b.JPEG.png", 20);
  add_picture(folder, "train/n01/x.PNG", 10);
  add_picture(folder, "train/n01/a.png", 11);
  add_picture(folder, "train/n10/a.png", 30);
  add_picture(folder, "train/n01/._a.png", 0);  // macOS's
  write_file_atomic(folder / "train/n01/list.txt", std::string_view("no picture"));
  add_picture(folder, "val/n10/v.png", 31);
  add_picture(folder, "val/n01/v.png", 12);
  const auto train = make_class_dataset({"folders", folder.path(), 0, 0}, "train");
  CHECK(train->classes() == std::vector<std::string>{"n01", "n02", "n10"});
  REQUIRE(train->size() == 4);
  CHECK(train->name(1) == "x.PNG");
  CHECK(train->load_label(2) == 1);
  CHECK(train->load_image(3).pixels == Bytes(48, 30));
  const auto val = make_class_dataset({"folders", folder.path(), 0, 0}, "val");
  CHECK(val->classes() == train->classes());  // n02 has no picture there, but keeps its number
  REQUIRE(val->size() == 2);
  CHECK(val->load_label(1) == 2);
  CHECK_THROWS_AS(val->load_image(2), Error);
}

TEST_CASE("class folders: what is wrong is named, with the remedy") {
  const TemporaryFolder folder;
  CHECK(has(refusal("folders", "", "train"), "--data-root"));
  CHECK(has(refusal("folders", folder / "none", "train"), "no such folder"));
  CHECK(has(refusal("folders", folder.path(), "train"), "--val-share"));
  add_picture(folder, "train/cat/a.png", 1);
  CHECK(has(refusal("folders", folder.path(), "train"), "1 folder of a class"));
  add_picture(folder, "train/dog/a.png", 1);
  CHECK(refusal("folders", folder.path(), "train").empty());
  CHECK(has(refusal("folders", folder.path(), "val"), "val"));
  CHECK(has(refusal("folders", folder.path(), "../x"), "neither train nor val"));
  std::filesystem::create_directories(folder / "train/emu");
  CHECK(has(refusal("folders", folder.path(), "train"), "train/emu: no picture"));
  std::filesystem::remove(folder / "train/emu");
  add_picture(folder, "val/fox/a.png", 1);
  CHECK(has(refusal("folders", folder.path(), "val"), "val/fox: a class that"));
  write_file_atomic(folder / "train/dog/a.png", std::string_view("no picture"));
  const auto train = make_class_dataset({"folders", folder.path(), 0, 0}, "train");
  CHECK(has(input_error([&] { train->load_image(1); }), "train/dog/a.png"));
}

TEST_CASE("class folders: sub-folders are read, pictures beside the classes refused") {
  const TemporaryFolder folder;
  for (const char* path : {"train/cat/a.png", "train/cat/more/a.png", "train/dog/b.png"})
    add_picture(folder, path, 1);
  const auto train = make_class_dataset({"folders", folder.path(), 0, 0}, "train");
  REQUIRE(train->size() == 3);
  CHECK(train->name(1) == "more/a.png");
  CHECK(train->load_image(1).pixels == Bytes(48, 1));
  add_picture(folder, "val/._c.png", 1);
  CHECK(has(refusal("folders", folder.path(), "val"), "no pictures for the split val"));
  add_picture(folder, "val/c.png", 1);  // ImageNet's val as it is published
  const std::string flat = refusal("folders", folder.path(), "val");
  CHECK(has(flat, "/val: has 1 pictures, but no folder of a class"));
  CHECK(has(flat, "--val-share"));
  add_picture(folder, "train/stray.png", 1);
  CHECK(has(refusal("folders", folder.path(), "train"),
            "train/stray.png: lies beside the classes' folders"));
  std::filesystem::remove(folder / "train/stray.png");
  std::filesystem::create_symlink("gone.png", folder.path() + "/train/dog/c.png");
  CHECK(has(refusal("folders", folder.path(), "train"), "dog/c.png: is a link that leads nowhere"));
}

TEST_CASE("class folders: a flat folder is split by seed, the same way each time") {
  const TemporaryFolder folder;
  for (int i = 0; i < 20; ++i) add_picture(folder, fmt::format("a/{:02}.png", i), 1);
  for (int i = 0; i < 3; ++i) add_picture(folder, fmt::format("b/{}.png", i), 2);
  add_picture(folder, "c/only.png", 3);
  const auto names = [&](const std::string& split, std::uint64_t seed) {
    std::set<std::string> all;
    const auto data = make_class_dataset({"folders", folder.path(), 0.25, seed}, split);
    for (std::int64_t i = 0; i < data->size(); ++i)
      all.insert(data->classes()[static_cast<std::size_t>(data->load_label(i))] + data->name(i));
    return all;
  };
  const auto train = names("train", 1), val = names("val", 1);
  CHECK(train.size() == 15 + 2 + 1);
  CHECK(val.size() == 5 + 1);
  for (const auto& name : val) CHECK_FALSE(train.contains(name));
  CHECK(names("val", 1) == val);
  CHECK(names("val", 2) != val);
}

TEST_CASE("idx: plain and compressed, grey becomes RGB") {
  const TemporaryFolder folder;
  const Bytes images{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, labels{9, 3};
  write_file_atomic(folder / "fashion/train-images-idx3-ubyte.gz", gzip(idx({2, 2, 3}, images)));
  write_file_atomic(folder / "fashion/train-labels-idx1-ubyte.gz", gzip(idx({2}, labels)));
  write_file_atomic(folder / "fashion/t10k-images-idx3-ubyte", idx({1, 2, 2}, {9, 8, 7, 6}));
  write_file_atomic(folder / "fashion/t10k-labels-idx1-ubyte", idx({1}, {0}));
  const auto train = make_class_dataset({"idx", folder / "fashion", 0, 0}, "train");
  REQUIRE(train->size() == 2);
  CHECK(train->classes()[9] == "Ankle boot");
  CHECK(train->load_label(0) == 9);
  const Image second = train->load_image(1);
  CHECK(second.height == 2);
  CHECK(second.width == 3);
  CHECK(second.pixels == Bytes{7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10, 10, 11, 11, 11, 12, 12, 12});
  const auto val = make_class_dataset({"idx", folder / "fashion", 0, 0}, "val");
  CHECK(val->load_image(0).pixels.front() == 9);
}

TEST_CASE("idx: damaged files are refused, at every length") {
  const TemporaryFolder folder;
  const std::string images = folder / "train-images-idx3-ubyte",
                    labels = folder / "train-labels-idx1-ubyte";
  CHECK(has(refusal("idx", folder.path(), "train"), "train-images-idx3-ubyte"));
  const Bytes whole = idx({2, 2, 2}, Bytes(8, 5)), packed = gzip(whole);
  write_file_atomic(labels, idx({2}, {1, 2}));
  for (const Bytes& file : {whole, packed})
    for (std::size_t n = 0; n < file.size(); ++n) {
      write_file_atomic(images, std::span(file).first(n));
      CHECK(has(refusal("idx", folder.path(), "train"), "train-images-idx3-ubyte"));
    }
  for (const Bytes& bad :
       {idx({2, 2, 2}, Bytes(9, 5)), idx({2, 4}, Bytes(8, 5)),
        idx({0xffffffff, 0xffffffff, 0xffffffff}, Bytes(8, 5)), idx({0, 2, 2}, {}), Bytes(64, 7)}) {
    write_file_atomic(images, bad);
    CHECK(has(refusal("idx", folder.path(), "train"), "train-images-idx3-ubyte"));
  }
  write_file_atomic(images, idx({3, 2, 2}, Bytes(12, 5)));
  CHECK(has(refusal("idx", folder.path(), "train"), "3 train images, but 2 labels"));
  // Ten megabytes of nothing, in ten kilobytes: refused once the limit is passed.
  write_file_atomic(images, gzip(Bytes(10'000'000, 0)));
  CHECK(has(input_error([&] { read_gzip(images, 1'000'000); }), "more than"));
}
