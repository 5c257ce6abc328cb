#include "data/datasets/idx_dataset.h"

#include <zlib.h>

#include <algorithm>
#include <filesystem>

#include "data/files/file.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMostBytes = 1ull << 31;

struct IdxFile {
  std::vector<std::int64_t> extents;
  std::vector<std::uint8_t> values;
};

IdxFile parse_idx(std::vector<std::uint8_t> bytes, const std::string& path, std::size_t axes) {
  const std::size_t header = 4 + 4 * axes;
  if (bytes.size() < header || bytes[0] != 0 || bytes[1] != 0 || bytes[2] != 8 || bytes[3] != axes)
    fail_input("{}: is no idx file of bytes with {} extent{}; get it anew", path, axes,
               axes == 1 ? "" : "s");
  IdxFile file;
  std::uint64_t wanted = 1;
  for (std::size_t i = 4; i < header; i += 4) {
    const std::uint32_t extent = std::uint32_t{bytes[i]} << 24 | std::uint32_t{bytes[i + 1]} << 16 |
                                 std::uint32_t{bytes[i + 2]} << 8 | bytes[i + 3];
    if (extent == 0 || extent > kMostBytes / wanted)
      fail_input("{}: damaged: an extent of {}", path, extent);
    wanted *= extent;
    file.extents.push_back(extent);
  }
  if (bytes.size() - header != wanted)
    fail_input("{}: damaged: {} bytes where its header promises {}", path, bytes.size() - header,
               wanted);
  bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(header));
  file.values = std::move(bytes);
  return file;
}

IdxFile read_idx(const std::string& root, const std::string& name, std::size_t axes) {
  for (const char* suffix : {"", ".gz"}) {
    const std::string path = (fs::path(root) / (name + suffix)).string();
    if (fs::exists(path)) return parse_idx(read_gzip(path, kMostBytes), path, axes);
  }
  fail_input("{}: no {} in it, nor {}.gz; give the folder of MNIST's or Fashion-MNIST's files",
             root, name, name);
}

const std::vector<std::string>& fashion_names() {
  static const std::vector<std::string> names{"T-shirt/top", "Trouser",   "Pullover", "Dress",
                                              "Coat",        "Sandal",    "Shirt",    "Sneaker",
                                              "Bag",         "Ankle boot"};
  return names;
}

}  // namespace

std::vector<std::uint8_t> read_gzip(const std::string& path, std::uint64_t limit) {
  std::vector<std::uint8_t> packed = read_file(path, limit);
  if (packed.size() < 2 || packed[0] != 0x1f || packed[1] != 0x8b) return packed;
  z_stream stream = {};
  check(inflateInit2(&stream, 16 + MAX_WBITS) == Z_OK, "{}: zlib cannot begin", path);
  std::vector<std::uint8_t> bytes, piece(1 << 20);
  stream.next_in = packed.data();
  stream.avail_in = static_cast<uInt>(packed.size());
  int status = Z_OK;
  while (status == Z_OK && bytes.size() <= limit) {
    stream.next_out = piece.data();
    stream.avail_out = static_cast<uInt>(piece.size());
    status = inflate(&stream, Z_NO_FLUSH);
    bytes.insert(bytes.end(), piece.begin(),
                 piece.end() - static_cast<std::ptrdiff_t>(stream.avail_out));
  }
  inflateEnd(&stream);
  if (bytes.size() > limit) fail_input("{}: more than {} bytes when unpacked", path, limit);
  if (status != Z_STREAM_END) fail_input("{}: damaged or cut short; get it anew", path);
  return bytes;
}

IdxDataset::IdxDataset(const std::string& root, const std::string& split) : split_(split) {
  const std::string prefix = split == "train" ? "train" : "t10k";
  IdxFile images = read_idx(root, prefix + "-images-idx3-ubyte", 3);
  IdxFile labels = read_idx(root, prefix + "-labels-idx1-ubyte", 1);
  if (images.extents[0] != labels.extents[0])
    fail_input("{}: {} {} images, but {} labels; the files do not belong together", root,
               images.extents[0], prefix, labels.extents[0]);
  height_ = images.extents[1];
  width_ = images.extents[2];
  pixels_ = std::move(images.values);
  labels_ = std::move(labels.values);
  // Both splits must agree on the classes, so they are not counted: ten, or more if a label says
  // so.
  const int highest = *std::max_element(labels_.begin(), labels_.end());
  std::string folder = fs::path(root).lexically_normal().string();
  std::transform(folder.begin(), folder.end(), folder.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (highest < 10 && folder.find("fashion") != std::string::npos) {
    classes_ = fashion_names();
  } else {
    for (int c = 0; c <= std::max(9, highest); ++c) classes_.push_back(std::to_string(c));
  }
}

std::string IdxDataset::name(std::int64_t i) const {
  return fmt::format("{} {}", split_, i);
}

int IdxDataset::label(std::int64_t i) const {
  check(i >= 0 && i < size(), "data set: sample {} of {}", i, size());
  return labels_[static_cast<std::size_t>(i)];
}

Image IdxDataset::load(std::int64_t i) const {
  check(i >= 0 && i < size(), "data set: sample {} of {}", i, size());
  Image image{height_, width_, {}};
  const auto n = static_cast<std::size_t>(height_ * width_);
  image.pixels.reserve(3 * n);
  for (std::size_t p = 0; p < n; ++p)
    image.pixels.insert(image.pixels.end(), 3, pixels_[static_cast<std::size_t>(i) * n + p]);
  return image;
}

}  // namespace nextgrad
