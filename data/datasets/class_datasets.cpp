// Pictures that show one class each: in folders, and in MNIST's files. See DatasetConfig, and
// make_class_dataset for what is refused.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <span>

#include "data/augment/random_use.h"
#include "data/datasets/dataset.h"
#include "data/files/file.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

namespace fs = std::filesystem;

// A picture beside the classes' folders would be left out in silence.
void refuse_strays(const std::string& folder, bool classes) {
  const auto strays = list_files(folder, image_suffixes());
  if (strays.empty()) return;
  if (!classes)
    fail_input(
        "{}: has {} pictures, but no folder of a class; sort them into one folder for each "
        "class, or take the folder away and use --val-share",
        folder, strays.size());
  fail_input("{}{}: lies beside the classes' folders; move it into its class's, or away",
             strays.front(),
             strays.size() > 1 ? fmt::format(" (and {} others)", strays.size() - 1) : "");
}

// Names of the folders in a folder, sorted by their bytes (as Python sorts them).
std::vector<std::string> folders_in(const fs::path& parent) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(parent, error)) {
    const std::string name = entry.path().filename().string();
    std::error_code ignored;
    if (name.front() != '.' && entry.is_directory(ignored)) names.push_back(name);
  }
  if (error)
    fail_input("{}: {}; give a folder of classes' folders", parent.string(), error.message());
  std::sort(names.begin(), names.end());
  return names;
}

class ClassFolders : public ClassDataset {
 public:
  ClassFolders(const DatasetConfig& config, const std::string& split) {
    const fs::path root(config.root), train = root / "train";
    if (!fs::is_directory(root))
      fail_input("{}: no such folder; give one that holds train/CLASS and val/CLASS", config.root);
    const bool flat = !fs::is_directory(train) && !fs::is_directory(root / "val");
    if (flat && config.val_share <= 0)
      fail_input(
          "{}: has neither train/ nor val/; for folders of classes right here say how many to "
          "validate on, such as --val-share 0.1",
          config.root);
    folder_ = flat ? root : root / split;
    const std::vector<std::string> folders = folders_in(folder_);
    refuse_strays(folder_.string(), !folders.empty());
    // Weights can be scored where only val/ is.
    classes_ = !flat && fs::is_directory(train) ? folders_in(train) : folders;
    if (classes_.size() < 2)
      fail_input("{}: {} folder{} of a class; training to tell classes apart wants two at least",
                 flat ? config.root : train.string(), classes_.size(),
                 classes_.size() == 1 ? "" : "s");
    for (const std::string& name : folders) {
      const auto at = std::lower_bound(classes_.begin(), classes_.end(), name);
      if (at == classes_.end() || *at != name)
        fail_input("{}: a class that {} lacks; remove it or add the class there",
                   (folder_ / name).string(), train.string());
      std::vector<std::string> files = list_tree((folder_ / name).string(), image_suffixes());
      if (files.empty())
        fail_input("{}: no picture of this class; add some or remove the folder",
                   (folder_ / name).string());
      const auto label = static_cast<int>(at - classes_.begin());
      if (flat) keep_share(files, label, config, split == "val");
      for (std::string& file : files) pictures_.push_back({label, std::move(file)});
    }
    if (pictures_.empty())
      fail_input("{}: no pictures for the split {}; add some or raise --val-share", config.root,
                 split);
  }

  std::int64_t size() const override { return std::ssize(pictures_); }
  std::string name(std::int64_t i) const override { return picture(i).file; }
  int load_label(std::int64_t i) const override { return picture(i).label; }
  Image load_image(std::int64_t i) const override { return read_image(image_path(i)); }
  std::string image_path(std::int64_t i) const override {
    const Picture& p = picture(i);
    return (folder_ / classes_[static_cast<std::size_t>(p.label)] / p.file).string();
  }

 private:
  // A million of them fit in memory: the folder is not repeated.
  struct Picture {
    int label;
    std::string file;
  };
  const Picture& picture(std::int64_t i) const { return pictures_[checked(i)]; }

  // Of each class a share goes to val, at least one picture if there are two.
  static void keep_share(std::vector<std::string>& files, int label, const DatasetConfig& config,
                         bool val) {
    const std::int64_t n = std::ssize(files);
    const std::int64_t wanted = std::llround(config.val_share * static_cast<double>(n));
    const std::int64_t share = n < 2 ? 0 : std::clamp<std::int64_t>(wanted, 1, n - 1);
    const auto order = epoch_permutation(config.seed, label, n);
    std::size_t i = 0;
    std::erase_if(files, [&](const std::string&) { return (order[i++] < share) != val; });
  }

  fs::path folder_;  // holds the classes' folders
  std::vector<Picture> pictures_;
};

// MNIST's file format: a magic number (two zeros, 8 = bytes, the number of extents), the extents as
// big-endian 32-bit numbers, the bytes.
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

const std::vector<std::string> kFashion{"T-shirt/top", "Trouser",   "Pullover", "Dress",
                                        "Coat",        "Sandal",    "Shirt",    "Sneaker",
                                        "Bag",         "Ankle boot"};

// Ten labels get Fashion-MNIST's names if the folder's name has `fashion` in it; else classes are
// called by their numbers.
class IdxDataset : public ClassDataset {
 public:
  IdxDataset(const std::string& root, const std::string& split) : split_(split) {
    const std::string prefix = split == "train" ? "train" : "t10k";
    images_ = read_idx(root, prefix + "-images-idx3-ubyte", 3);
    labels_ = read_idx(root, prefix + "-labels-idx1-ubyte", 1);
    if (images_.extents[0] != labels_.extents[0])
      fail_input("{}: {} {} images, but {} labels; the files do not belong together", root,
                 images_.extents[0], prefix, labels_.extents[0]);
    // Both splits must agree on the classes, so they are not counted: ten, or more if a label says
    // so.
    const int highest = *std::ranges::max_element(labels_.values);
    std::string folder = fs::path(root).lexically_normal().string();
    std::ranges::transform(folder, folder.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (highest < 10 && folder.find("fashion") != std::string::npos) classes_ = kFashion;
    for (int c = std::ssize(classes_); c <= std::max(9, highest); ++c)
      classes_.push_back(std::to_string(c));
  }

  std::int64_t size() const override { return labels_.extents[0]; }
  std::string name(std::int64_t i) const override { return fmt::format("{} {}", split_, i); }
  int load_label(std::int64_t i) const override { return labels_.values[checked(i)]; }
  Image load_image(std::int64_t i) const override {
    Image image{images_.extents[1], images_.extents[2], {}};
    const auto n = static_cast<std::size_t>(image.height * image.width);
    image.pixels.reserve(3 * n);
    for (const std::uint8_t grey : std::span(images_.values).subspan(checked(i) * n, n))
      image.pixels.insert(image.pixels.end(), 3, grey);
    return image;
  }

 private:
  std::string split_;
  IdxFile images_, labels_;
};

}  // namespace

const std::vector<std::string>& class_dataset_kinds() {
  static const std::vector<std::string> kinds{"folders", "idx"};
  return kinds;
}

std::unique_ptr<ClassDataset> make_class_dataset(const DatasetConfig& config,
                                                 const std::string& split) {
  if (split != "train" && split != "val") fail_input("split '{}' is neither train nor val", split);
  if (config.root.empty())
    fail_input("data set '{}' wants a folder; name it with --data-root", config.kind);
  if (config.kind == "folders") return std::make_unique<ClassFolders>(config, split);
  if (config.kind == "idx") return std::make_unique<IdxDataset>(config.root, split);
  fail_input("unknown data set '{}'; known are {}", config.kind,
             fmt::join(class_dataset_kinds(), " and "));
}

}  // namespace nextgrad
