#include "data/folder_dataset.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "data/file.h"
#include "data/palette.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

namespace fs = std::filesystem;

// Files of a folder by their name without the suffix.
using ByName = std::map<std::string, std::string>;

ByName by_name(const std::string& folder, const std::vector<std::string>& suffixes,
               const std::string& except) {
  ByName files;
  for (const std::string& path : list_files(folder, suffixes)) {
    const std::string file = fs::path(path).filename().string();
    if (file.front() == '.' || (!except.empty() && file.ends_with(except))) continue;
    // Of several suffixes that fit, the file has the longest; each is given in lower case or as is.
    const std::size_t cut =
        suffixes.size() == 1 ? suffixes[0].size() : fs::path(file).extension().string().size();
    if (cut >= file.size()) continue;
    const auto [other, fresh] = files.emplace(file.substr(0, file.size() - cut), path);
    if (!fresh) fail_input("{} and {} have the same name; remove one of them", other->second, path);
  }
  return files;
}

[[noreturn]] void fail_unpaired(const std::string& path, const char* wanted,
                                const std::string& where, std::size_t count) {
  const std::string others = count > 1 ? fmt::format(" (and {} others)", count - 1) : "";
  fail_input("{}: has no {} in {}{}; add it or remove the file", path, wanted, where, others);
}

void check_partners(const ByName& files, const ByName& partners, const char* wanted,
                    const std::string& where) {
  std::string first;
  std::size_t missing = 0;
  for (const auto& [name, path] : files)
    if (!partners.contains(name) && missing++ == 0) first = path;
  if (missing > 0) fail_unpaired(first, wanted, where, missing);
}

}  // namespace

FolderDataset::FolderDataset(FolderSpec spec) : mapping_(spec.mapping) {
  classes_ = std::move(spec.classes);
  palette_ = std::move(spec.palette);
  for (const std::string& folder : {spec.images, spec.labels})
    if (!fs::is_directory(folder))
      fail_input("{}: no such folder; check the data set's root and split", folder);
  std::error_code ignored;
  const bool together = fs::equivalent(spec.images, spec.labels, ignored);
  const ByName images = by_name(
      spec.images,
      spec.image_suffix.empty() ? image_suffixes() : std::vector<std::string>{spec.image_suffix},
      together ? spec.label_suffix : "");
  const ByName labels = by_name(spec.labels, {spec.label_suffix}, "");
  if (images.empty())
    fail_input("{}: no image in this folder; check the folder and the suffix", spec.images);
  check_partners(images, labels, "label", spec.labels);
  check_partners(labels, images, "image", spec.images);
  for (const auto& [name, path] : images) pairs_.push_back({name, path, labels.at(name)});
}

const FolderDataset::Pair& FolderDataset::pair(std::int64_t i) const {
  check(i >= 0 && i < size(), "data set: sample {} of {}", i, size());
  return pairs_[static_cast<std::size_t>(i)];
}

Sample FolderDataset::load(std::int64_t i) const {
  const Pair& p = pair(i);
  Sample sample{p.name, read_image(p.image), read_label(p.label)};
  if (sample.image.height != sample.label.height || sample.image.width != sample.label.width)
    fail_input("{}: {} x {} labels for the {} x {} pixels of {}; make them the same size", p.label,
               sample.label.width, sample.label.height, sample.image.width, sample.image.height,
               p.image);
  for (std::size_t at = 0; at < sample.label.values.size(); ++at) {
    std::uint8_t& value = sample.label.values[at];
    const int mapped = mapping_[value];
    if (mapped < 0)
      fail_input(
          "{}: label {} at ({}, {}), but there are {} classes; correct the file, the classes "
          "or ignore_label",
          p.label, value, static_cast<std::int64_t>(at) % sample.label.width,
          static_cast<std::int64_t>(at) / sample.label.width, num_classes());
    value = static_cast<std::uint8_t>(mapped);
  }
  return sample;
}

FolderSpec camvid_spec(const std::string& root, const std::string& split) {
  if (root.empty() || !fs::is_directory(root))
    fail_input("{}: no such folder; give CamVid's folder, which holds images/ and labels/",
               root.empty() ? "data set root" : root);
  FolderSpec spec;
  spec.classes = {"Sky",        "Building", "Pole", "Road",       "Pavement", "Tree",
                  "SignSymbol", "Fence",    "Car",  "Pedestrian", "Bicyclist"};
  spec.palette = camvid_palette();
  spec.mapping.fill(-1);
  for (int k = 0; k < 11; ++k) spec.mapping[static_cast<std::size_t>(k)] = k;
  spec.mapping[11] = spec.mapping[255] = kIgnoreLabel;
  spec.images = (fs::path(root) / "images" / split).string();
  spec.labels = (fs::path(root) / "labels" / split).string();
  return spec;
}

}  // namespace nextgrad
