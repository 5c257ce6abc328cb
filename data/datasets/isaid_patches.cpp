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

// One side of the work: the image or its label, a file that becomes one for each patch.
struct Side {
  std::string path;
  const ColorClasses* colors;  // that a label is painted in; nullptr: this is the image
  PngRows rows;
  PatchGrid grid;
  std::string stem, suffix;
  std::int64_t patches = 0, missing = 0;

  Side(const std::string& from, const ColorClasses* painted, const IsaidPicture& picture,
       const PatchOptions& options)
      : path(from),
        colors(painted),
        rows(path),
        grid{rows.height(),   rows.width(),
             painted ? 1 : 3, options.size,
             options.overlap, painted ? std::uint8_t{kIgnoreLabel} : std::uint8_t{0}},
        stem(fs::path(painted ? options.labels : options.images) / picture.name),
        suffix(painted ? kLabelSuffix : ".png") {
    for (const std::int64_t top : grid.tops())
      for (const std::int64_t left : grid.lefts()) {
        ++patches;
        missing += !fs::exists(file(top, left));
      }
  }

  std::string file(std::int64_t top, std::int64_t left) const {
    return patch_name(stem, top, left, grid.patch) + suffix;
  }
};

// Makes the patches that are not there; asks stop() before each row.
void cut(Side& side, const std::function<bool()>& stop, PatchCount& count) {
  const std::int64_t size = side.grid.patch, width = side.grid.width;
  // What is no label at all is seen before its first patches are whole.
  const std::int64_t judged = std::min(side.grid.height, size) * width;
  std::vector<std::uint8_t> rgb(static_cast<std::size_t>(width * 3));
  std::int64_t pixels_read = 0, unknown = 0;
  const auto next = [&](std::span<std::uint8_t> row) {
    if (stop()) return false;
    side.rows.next(side.colors ? rgb : row);
    if (side.colors) unknown += convert_colors(*side.colors, rgb, row);
    pixels_read += width;
    if (pixels_read >= judged && 2 * unknown > pixels_read) refuse_colors(side.path);
    return true;
  };
  const auto take = [&](std::int64_t top, std::int64_t left, std::vector<std::uint8_t> pixels) {
    const std::string to = side.file(top, left);
    if (fs::exists(to)) return;
    if (side.colors)
      write_png(to, LabelMap{size, size, std::move(pixels)}, layouts::isaid_palette());
    else
      write_png(to, Image{size, size, std::move(pixels)});
    ++count.written;
  };
  count.stopped = !cut_patches(side.grid, next, take);
  if (!count.stopped) count.unknown += unknown;
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
  const ColorClasses colors = numbered(layouts::isaid_palette());
  Side image(picture.image, nullptr, picture, options);
  std::optional<Side> label;
  if (!picture.label.empty()) {
    label.emplace(picture.label, &colors, picture, options);
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
  const std::int64_t rows = image.grid.height * (want_label + want_image);
  std::int64_t done = 0;
  const auto stop = [&] {
    const double share = static_cast<double>(done++) / static_cast<double>(rows);
    return options.step && options.step(share);
  };
  // The label first: without it the patches of the image would be of no use.
  if (want_label) cut(*label, stop, count);
  if (want_image && !count.stopped) cut(image, stop, count);
  if (!count.stopped) count.kept = image.patches + (label ? label->patches : 0) - count.written;
  return count;
}

}  // namespace nextgrad
