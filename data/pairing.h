// Which image file goes with which label file; for data/folder_dataset.cpp.
#pragma once

#include <string>
#include <vector>

#include "data/folder_dataset.h"

namespace nextgrad {

struct FilePair {
  std::string name, image, label;  // name: without folder and suffix; label empty: there is none
};

// The pairs of all parts, each part in the order of its list or of its names. Throws InputError as
// FolderDataset does.
std::vector<FilePair> pair_files(const std::vector<FolderPart>& parts,
                                 std::vector<std::string>* problems);

// The names of a list file: of each line what stands before the first blank, without folder and
// suffix; empty lines are passed over. Throws InputError if there is no name.
struct ListedName {
  std::string name;
  int line;
};
std::vector<ListedName> read_list(const std::string& path);

}  // namespace nextgrad
