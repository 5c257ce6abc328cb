#include "data/datasets/isaid_patches.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>

#include "data/datasets/color_labels.h"
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
constexpr const char* kLabelStem = "_instance_color_RGB";

// One side of the work: the image or its label, by rows.
class Side {
 public:
  Side(const std::string& path, const std::string& folder, const std::string& name,
       const std::string& suffix, std::int64_t channels, std::uint8_t pad,
       const PatchOptions& options)
      : rows_(path),
        cutter_(rows_.height(), rows_.width(), channels, options.size, options.overlap, pad),
        folder_(folder),
        name_(name),
        suffix_(suffix),
        size_(options.size) {
    for (const std::int64_t top : cutter_.tops())
      for (const std::int64_t left : cutter_.lefts()) missing_ += !fs::exists(file(top, left));
  }
  PngRows& rows() { return rows_; }
  bool complete() const { return missing_ == 0; }
  std::int64_t total() const {
    return static_cast<std::int64_t>(cutter_.tops().size() * cutter_.lefts().size());
  }
  // write(path, pixels) for each new patch; returns how many.
  template <class Write>
  std::int64_t push(std::span<const std::uint8_t> row, const Write& write) {
    std::int64_t written = 0;
    cutter_.push(row, [&](std::int64_t top, std::int64_t left) {
      const std::string path = file(top, left).string();
      if (fs::exists(path)) return;
      write(path, cutter_.pixels(top, left));
      ++written;
    });
    return written;
  }

 private:
  fs::path file(std::int64_t top, std::int64_t left) const {
    return fs::path(folder_) / (patch_name(name_, top, left, size_) + suffix_);
  }
  PngRows rows_;
  PatchCutter cutter_;
  std::string folder_, name_, suffix_;
  std::int64_t size_, missing_ = 0;
};

// Counts the rows of both sides for PatchOptions::step.
class Steps {
 public:
  Steps(const PatchOptions& options, std::int64_t rows) : options_(options), rows_(rows) {}
  bool stop() {
    const double share = static_cast<double>(done_++) / static_cast<double>(rows_);
    return options_.step && options_.step(share);
  }

 private:
  const PatchOptions& options_;
  std::int64_t rows_, done_ = 0;
};

void cut_image(Side& side, const PatchOptions& options, Steps& steps, PatchCount& count) {
  std::vector<std::uint8_t> rgb(static_cast<std::size_t>(side.rows().width() * 3));
  for (std::int64_t y = 0; y < side.rows().height(); ++y) {
    if (steps.stop()) return void(count.stopped = true);
    side.rows().next(rgb);
    count.written += side.push(rgb, [&](const std::string& path, std::vector<std::uint8_t> pixels) {
      write_png(path, Image{options.size, options.size, std::move(pixels)});
    });
  }
}

void cut_label(Side& side, const std::string& path, const PatchOptions& options, Steps& steps,
               PatchCount& count) {
  Palette palette;
  for (const auto& [color, k] : layouts::isaid_colors()) palette.push_back(color);
  const ColorLabels colors(layouts::isaid_colors());
  std::vector<std::uint8_t> rgb(static_cast<std::size_t>(side.rows().width() * 3));
  std::vector<std::uint8_t> classes(rgb.size() / 3);
  // What is no label at all is seen before its first patches are whole.
  const std::int64_t judged = std::min(side.rows().height(), options.size);
  std::int64_t pixels_read = 0, unknown = 0;
  for (std::int64_t y = 0; y < side.rows().height(); ++y) {
    if (steps.stop()) return void(count.stopped = true);
    side.rows().next(rgb);
    unknown += colors.convert(rgb, classes);
    pixels_read += side.rows().width();
    if (y + 1 >= judged && 2 * unknown > pixels_read) colors.refuse(path);
    count.written +=
        side.push(classes, [&](const std::string& file, std::vector<std::uint8_t> values) {
          write_png(file, LabelMap{options.size, options.size, std::move(values)}, palette);
        });
  }
  count.unknown += unknown;
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
    if (label) stem.resize(stem.size() - std::string_view(kLabelStem).size());
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
  PatchCount count;
  Side image(picture.image, options.images, picture.name, ".png", 3, 0, options);
  std::unique_ptr<Side> label;
  if (!picture.label.empty()) {
    label = std::make_unique<Side>(picture.label, options.labels, picture.name, kLabelSuffix, 1,
                                   kIgnoreLabel, options);
    if (label->rows().height() != image.rows().height() ||
        label->rows().width() != image.rows().width())
      fail_input("{}: {} x {} labels for the {} x {} pixels of {}; give the label of this picture",
                 picture.label, label->rows().width(), label->rows().height(), image.rows().width(),
                 image.rows().height(), picture.image);
    if (label->rows().grey())
      fail_input("{}: is grey; give the semantic masks, which are painted in colours",
                 picture.label);
  }
  const bool want_label = label != nullptr && !label->complete(), want_image = !image.complete();
  Steps steps(options, image.rows().height() * (want_label + want_image));
  // The label first: without it the patches of the image would be of no use.
  if (want_label) cut_label(*label, picture.label, options, steps, count);
  if (want_image && !count.stopped) cut_image(image, options, steps, count);
  if (!count.stopped) count.kept = image.total() + (label ? label->total() : 0) - count.written;
  return count;
}

}  // namespace nextgrad
