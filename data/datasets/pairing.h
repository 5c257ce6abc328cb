// Which image file goes with which label file; for folder_dataset.cpp.
#pragma once

#include <string>
#include <vector>

#include "data/datasets/folder_dataset.h"

namespace nextgrad {

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

}  // namespace nextgrad
