// Pairs of image and label files in folders.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "data/datasets/dataset.h"

namespace nextgrad {

// --- labels painted as colours: RGB pictures in which each class has one ---

// Class of each colour; every other colour is ignored (255): drawn borders, smoothed edges.
using ColorClasses = std::map<Color, std::uint8_t>;
// Each colour is the class of its place.
ColorClasses numbered(const Palette& palette);
// RGB pixels [n,3] to classes [n]; returns how many have no class's colour. Throws Error unless the
// lengths agree.
std::int64_t convert_colors(const ColorClasses& classes, std::span<const std::uint8_t> rgb,
                            std::span<std::uint8_t> out);
// The same for a picture. Throws InputError that names `name` if more than half of it has no
// class's colour: then it is something else, a photograph or numbered instances. With
// `description`, the file that the colours are from, any colour that no class has is refused: the
// error also names the first such pixel.
LabelMap convert_colors(const ColorClasses& classes, const Image& image, const std::string& name,
                        const std::string& description = {});
// The message of its error.
[[noreturn]] void refuse_colors(const std::string& name);

// Whether the bytes are a PNG of colours (RGB, RGBA), not of grey values or palette indices.
bool is_color_png(std::span<const std::uint8_t> bytes);

// --- folders ---

// Where the files of a split, or of a part of it, are, sub-folders included. They pair by their
// paths within images and labels, without suffix, which are also the samples' names; suffixes match
// in any case, accents in any Unicode form; hidden files and folders are passed over.
struct FolderPart {
  std::string images, labels = {};  // folders; labels empty: the split has none
  std::string image_suffix = {};    // empty: any that read_image knows
  std::string label_suffix = ".png";
  std::string list = {};  // text file with a name or path a line; empty: every image of the folder
  bool exact_list = false;  // a path there must lead to the image; else its last name will do
  bool nested = false;      // names and pairs are without the sub-folders (Cityscapes' cities)
  std::vector<std::string> apart = {};  // folders that are not part of those above, should they lie
                                        // in them: labels among images, other splits
};

// What the folders hold.
struct FolderSpec {
  std::vector<std::string> classes;
  Palette palette;                     // one colour a class
  std::array<int, 256> mapping{};      // value in the file -> class, 255 = ignored, -1 = error
  std::map<int, std::uint8_t> values;  // if not empty, instead of mapping; up to 65535
  ColorClasses colors;                 // also labels painted in these
  // The TOML file, for messages; empty: a published data set, where colours not among these are
  // ignored, not an error.
  std::string description;
  Submission submission;
  std::vector<FolderPart> parts;  // a name that an earlier part has is not taken again
};

// The values 0..classes-1 are the classes (first: value of class 0) and 255 is ignored; with
// first = 1, 0 is ignored too; the others are errors.
std::array<int, 256> plain_mapping(int classes, int first = 0);

// Pairs the files. Throws InputError: no such folder or list, no image, a partner missing, a listed
// image missing; see make_dataset for `problems`.
std::unique_ptr<Dataset> open_folders(FolderSpec spec, std::vector<std::string>* problems);

// An image file and its label file; for folder_dataset.cpp.
struct FilePair {
  std::string name, image, label;  // name: as FolderPart says; label empty: there is none
};
// The pairs of all parts, each part in the order of its list or of its names. Throws InputError as
// open_folders does.
std::vector<FilePair> pair_files(const std::vector<FolderPart>& parts,
                                 std::vector<std::string>* problems);

// The lines of a list file that are not blank; byte order mark and carriage returns are passed
// over. Throws InputError if there is none.
struct ListedName {
  std::string name;  // what stands before the first blank, without folder and suffix
  int line;
  std::string text;  // all of the line, without blanks at its ends
};
std::vector<ListedName> read_list(const std::string& path);

// Reads the description that DatasetConfig documents. Throws InputError for a key or value that is
// wrong, unknown or missing, and for a split it does not have.
FolderSpec read_folder_spec(const std::string& toml_path, const std::string& split);
// The splits it has.
std::vector<std::string> folder_splits(const std::string& toml_path);

}  // namespace nextgrad
