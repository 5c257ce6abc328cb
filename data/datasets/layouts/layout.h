// The published data sets: where their files lie and what their labels mean; for data/*.cpp only.
// One file each; the tables are those of the sets' authors, in MMSegmentation's order.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "data/datasets/folder_dataset.h"

namespace nextgrad::layouts {

// Folders and labels of a split. Throw InputError that says what was expected where, what is there
// instead, and what to download or make.
FolderSpec ade20k(const std::string& root, const std::string& split);
FolderSpec camvid(const std::string& root, const std::string& split);
FolderSpec cityscapes(const std::string& root, const std::string& split);
FolderSpec cocostuff(const std::string& root, const std::string& split);
FolderSpec context59(const std::string& root, const std::string& split);
FolderSpec context60(const std::string& root, const std::string& split);
FolderSpec isaid(const std::string& root, const std::string& split);
FolderSpec loveda(const std::string& root, const std::string& split);
FolderSpec potsdam(const std::string& root, const std::string& split);
FolderSpec vaihingen(const std::string& root, const std::string& split);
FolderSpec voc(const std::string& root, const std::string& split);
FolderSpec vocaug(const std::string& root, const std::string& split);

// Classes and colours that other files need too.
std::vector<std::pair<Color, std::uint8_t>> isaid_colors();
Palette ade20k_palette();  // 150 colours

// How a data set is recognised.
struct Place {
  const char* title;                 // for messages
  std::vector<std::string> markers;  // folders, one of which the data set's own folder holds
  std::vector<std::string> names;    // of that folder, as seen from folders around it
  const char* remedy;                // what to download and unpack
};
// The data set's own folder: `root`, or one of the names in it, or `root` lies in it.
std::filesystem::path find_root(const Place& place, const std::string& root);
// The first of the folders (relative to `base`) that exists. If none does, InputError: "BASE/FIRST:
// no such folder" with the others looked for, and the remedy.
std::string need_folder(const std::filesystem::path& base, const std::vector<std::string>& folders,
                        const std::string& remedy);
// The same for a file.
std::string need_file(const std::filesystem::path& base, const std::vector<std::string>& files,
                      const std::string& remedy);
bool has_folder(const std::filesystem::path& base, const std::string& folder);
// Throws InputError unless the data set has that split.
void check_split(const char* title, const std::string& split,
                 const std::vector<std::string>& splits);
// Whether a folder (or, nested, one of its sub-folders) has a file that ends so.
bool has_file_with(const std::string& folder, bool nested, const std::string& suffix);
// "a, b c, d" to its parts.
std::vector<std::string> split_names(std::string_view names);

}  // namespace nextgrad::layouts
