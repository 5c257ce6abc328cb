#include "data/datasets/class_folders.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "data/augment/random_use.h"
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

}  // namespace

ClassFolders::ClassFolders(const ClassDatasetConfig& config, const std::string& split) {
  const fs::path root(config.root);
  if (!fs::is_directory(root))
    fail_input("{}: no such folder; give one that holds train/CLASS and val/CLASS", config.root);
  const bool flat = !fs::is_directory(root / "train") && !fs::is_directory(root / "val");
  if (flat && config.val_share <= 0)
    fail_input(
        "{}: has neither train/ nor val/; for folders of classes right here say how many to "
        "validate on, such as --val-share 0.1",
        config.root);
  folder_ = (flat ? root : root / split).string();
  // Weights can be scored where only val/ is.
  refuse_strays(folder_, !folders_in(folder_).empty());
  const fs::path train = root / "train";
  classes_ = folders_in(!flat && fs::is_directory(train) ? train : fs::path(folder_));
  if (classes_.size() < 2)
    fail_input("{}: {} folder{} of a class; training to tell classes apart wants two at least",
               flat ? config.root : train.string(), classes_.size(),
               classes_.size() == 1 ? "" : "s");
  for (const std::string& name : folders_in(folder_)) {
    const auto at = std::lower_bound(classes_.begin(), classes_.end(), name);
    if (at == classes_.end() || *at != name)
      fail_input("{}: a class that {} lacks; remove it or add the class there",
                 (fs::path(folder_) / name).string(), train.string());
    add_class(name, static_cast<int>(at - classes_.begin()));
  }
  if (flat) keep_share(config, split == "val");
  if (pictures_.empty())
    fail_input("{}: no pictures for the split {}; add some or raise --val-share", config.root,
               split);
}

void ClassFolders::add_class(const std::string& folder, int label) {
  const std::string path = (fs::path(folder_) / folder).string();
  const std::vector<std::string> files = list_tree(path, image_suffixes());
  if (files.empty())
    fail_input("{}: no picture of this class; add some or remove the folder", path);
  for (const std::string& file : files) pictures_.push_back({label, file});
}

// Of each class a share goes to val, at least one picture if there are two.
void ClassFolders::keep_share(const ClassDatasetConfig& config, bool val) {
  std::vector<Picture> kept;
  for (std::size_t begin = 0, end; begin < pictures_.size(); begin = end) {
    const int label = pictures_[begin].label;
    for (end = begin; end < pictures_.size() && pictures_[end].label == label;) ++end;
    const auto n = static_cast<std::int64_t>(end - begin);
    const std::int64_t wanted = std::llround(config.val_share * static_cast<double>(n));
    const std::int64_t share = n < 2 ? 0 : std::clamp<std::int64_t>(wanted, 1, n - 1);
    const auto order = epoch_permutation(config.seed, label, n);
    for (std::int64_t i = 0; i < n; ++i)
      if ((order[static_cast<std::size_t>(i)] < share) == val)
        kept.push_back(pictures_[begin + static_cast<std::size_t>(i)]);
  }
  pictures_ = std::move(kept);
}

const ClassFolders::Picture& ClassFolders::picture(std::int64_t i) const {
  check(i >= 0 && i < size(), "data set: sample {} of {}", i, size());
  return pictures_[static_cast<std::size_t>(i)];
}

Image ClassFolders::load(std::int64_t i) const {
  const Picture& p = picture(i);
  return read_image(
      (fs::path(folder_) / classes_[static_cast<std::size_t>(p.label)] / p.file).string());
}

}  // namespace nextgrad
