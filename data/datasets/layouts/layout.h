// The published data sets: where their files lie and what their labels mean; for
// data/datasets/*.cpp only.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "data/datasets/folder_dataset.h"

namespace nextgrad::layouts {

// A data set's own folder, and what to download or make if something is missing in it.
struct Place {
  std::filesystem::path base;
  const char* remedy;

  // The first of the folders (relative to `base`) that exists. If none does, InputError:
  // "BASE/FIRST: no such folder" with the others looked for, and the remedy.
  std::string folder(const std::vector<std::string>& candidates) const;
  // The same of files.
  std::string file(const std::vector<std::string>& candidates) const;
  bool has_folder(const std::string& folder) const;
};

struct Layout {
  const char *kind, *title;          // title: for messages
  std::vector<std::string> splits;   // that it may have, "train" first
  std::vector<std::string> markers;  // folders, one of which the data set's own folder holds
  std::vector<std::string> names;    // of that folder, as seen from folders around it
  const char* remedy;                // what to download and unpack
  FolderSpec (*read)(const Place& at, const std::string& split);
  bool other_splits = false;  // any split whose folders are there will do

  // Folders and labels of a split. The data set's own folder is `root`, or one of `names` in it, or
  // `root` lies in it. Throws InputError that says what was expected where, what is there instead,
  // and what to download or make.
  FolderSpec open(const std::string& root, const std::string& split) const;
};

// All of them (published.cpp).
std::span<const Layout> published();

// Its colours, which cutting it into patches needs too.
Palette isaid_palette();

// "ff0000 wall,00ff00 sky", or a line each, to classes and their colours.
FolderSpec with_classes(const std::string& table);

}  // namespace nextgrad::layouts
