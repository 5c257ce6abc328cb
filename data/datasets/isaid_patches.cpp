#include "data/datasets/isaid_patches.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>

#include "data/datasets/folder_dataset.h"
#include "data/datasets/layouts/layout.h"
#include "data/datasets/patches.h"
#include "data/files/file.h"
#include "data/images/image.h"
#include "data/images/png_rows.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLabelSuffix = "_instance_color_RGB.png";
constexpr std::string_view kLabelStem = "_instance_color_RGB";

// Counts the rows of image and label for PatchOptions::step.
struct Steps {
  const PatchOptions& options;
  std::int64_t rows = 0, done = 0;

  bool stop() {
    const double share = static_cast<double>(done++) / static_cast<double>(rows);
    return options.step && options.step(share);
  }
};

// One side of the work: the image or its label, a file that becomes one for each patch.
struct Side {
  PngRows rows;
  PatchGrid grid;
  std::string folder, name, suffix;
  std::int64_t patches = 0, missing = 0;

  Side(const std::string& path, std::string to, std::string picture, std::string ending,
       std::int64_t channels, std::uint8_t pad, const PatchOptions& options)
      : rows(path),
        grid{rows.height(), rows.width(), channels, options.size, options.overlap, pad},
        folder(std::move(to)),
        name(std::move(picture)),
        suffix(std::move(ending)) {
    for (const std::int64_t top : grid.tops())
      for (const std::int64_t left : grid.lefts()) {
        ++patches;
        missing += !fs::exists(file(top, left));
      }
  }

  std::string file(std::int64_t top, std::int64_t left) const {
    return (fs::path(folder) / (patch_name(name, top, left, grid.patch) + suffix)).string();
  }

  // Calls read(row) for each row and write(path, pixels) for each patch that is not there.
  template <class Read, class Write>
  void cut(const Read& read, const Write& write, Steps& steps, PatchCount& count) const {
    const auto next = [&](std::span<std::uint8_t> row) {
      if (steps.stop()) return false;
      read(row);
      return true;
    };
    count.stopped = !cut_patches(
        grid, next, [&](std::int64_t top, std::int64_t left, std::vector<std::uint8_t> pixels) {
          const std::string path = file(top, left);
          if (fs::exists(path)) return;
          write(path, std::move(pixels));
          ++count.written;
        });
  }
};

void cut_image(Side& side, Steps& steps, PatchCount& count) {
  const std::int64_t size = side.grid.patch;
  side.cut([&](std::span<std::uint8_t> row) { side.rows.next(row); },
           [&](const std::string& path, std::vector<std::uint8_t> pixels) {
             write_png(path, Image{size, size, std::move(pixels)});
           },
           steps, count);
}

void cut_label(Side& side, const std::string& path, Steps& steps, PatchCount& count) {
  const Palette palette = layouts::isaid_palette();
  const ColorLabels colors(numbered(palette));
  const std::int64_t size = side.grid.patch, width = side.grid.width;
  std::vector<std::uint8_t> rgb(static_cast<std::size_t>(width * 3));
  // What is no label at all is seen before its first patches are whole.
  const std::int64_t judged = std::min(side.grid.height, size) * width;
  std::int64_t pixels_read = 0, unknown = 0;
  side.cut(
      [&](std::span<std::uint8_t> row) {
        side.rows.next(rgb);
        unknown += colors.convert(rgb, row);
        pixels_read += width;
        if (pixels_read >= judged && 2 * unknown > pixels_read) colors.refuse(path);
      },
      [&](const std::string& to, std::vector<std::uint8_t> values) {
        write_png(to, LabelMap{size, size, std::move(values)}, palette);
      },
      steps, count);
  if (!count.stopped) count.unknown = unknown;
}

}  // namespace

std::vector<IsaidPicture> find_isaid_pictures(const std::string& root, const std::string& split,
                                              std::vector<std::string>& problems) {
  const fs::path folder = fs::path(root) / split;
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) return {};
  std::map<std::string, IsaidPicture> found;
  for (const std::string& file : list_tree(folder.string(), {".png"})) {
    const fs::path path = folder / file;
    std::string stem = path.stem().string();
    const bool label = stem.ends_with(kLabelStem);
    if (label) stem.resize(stem.size() - kLabelStem.size());
    if (!label && stem.find("_instance_") != std::string::npos) continue;  // numbered instances
    IsaidPicture& picture = found[stem];
    picture.name = stem;
    std::string& place = label ? picture.label : picture.image;
    if (place.empty())
      place = path.string();
    else
      problems.push_back(fmt::format("{}: has the name of {}; remove one", path.string(), place));
  }
  std::vector<IsaidPicture> pictures;
  for (auto& [name, picture] : found) {
    if (picture.image.empty())
      problems.push_back(fmt::format("{}: has no image {}.png below {}; add it or remove the label",
                                     picture.label, name, folder.string()));
    else if (picture.label.empty() && split != "test")
      problems.push_back(fmt::format("{}: has no label {}{} below {}; unpack the semantic masks",
                                     picture.image, name, kLabelSuffix, folder.string()));
    else
      pictures.push_back(std::move(picture));
  }
  if (found.empty())
    fail_input("{}: holds no PNG; unpack the archives of images and semantic masks in it",
               folder.string());
  return pictures;
}

PatchCount cut_isaid_picture(const IsaidPicture& picture, const PatchOptions& options) {
  Side image(picture.image, options.images, picture.name, ".png", 3, 0, options);
  std::optional<Side> label;
  if (!picture.label.empty()) {
    label.emplace(picture.label, options.labels, picture.name, kLabelSuffix, 1, kIgnoreLabel,
                  options);
    const PatchGrid &a = label->grid, &b = image.grid;
    if (a.height != b.height || a.width != b.width)
      fail_input("{}: {} x {} labels for the {} x {} pixels of {}; give the label of this picture",
                 picture.label, a.width, a.height, b.width, b.height, picture.image);
    if (label->rows.grey())
      fail_input("{}: is grey; give the semantic masks, which are painted in colours",
                 picture.label);
  }
  PatchCount count;
  const bool want_label = label && label->missing > 0, want_image = image.missing > 0;
  Steps steps{options, image.grid.height * (want_label + want_image)};
  // The label first: without it the patches of the image would be of no use.
  if (want_label) cut_label(*label, picture.label, steps, count);
  if (want_image && !count.stopped) cut_image(image, steps, count);
  if (!count.stopped) count.kept = image.patches + (label ? label->patches : 0) - count.written;
  return count;
}

}  // namespace nextgrad
