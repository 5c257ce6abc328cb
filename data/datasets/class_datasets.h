// Pictures that show one class each: in folders, and in MNIST's files. See DatasetConfig, and
// make_class_dataset for what is refused.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/datasets/dataset.h"

namespace nextgrad {

std::unique_ptr<ClassDataset> open_class_folders(const DatasetConfig& config,
                                                 const std::string& split);
// Ten labels get Fashion-MNIST's names if the folder's name has `fashion` in it; else classes are
// called by their numbers.
std::unique_ptr<ClassDataset> open_idx(const std::string& root, const std::string& split);

// The bytes of a file, unpacked if it is one of gzip. Throws InputError for a damaged one and for
// more than `limit` bytes.
std::vector<std::uint8_t> read_gzip(const std::string& path, std::uint64_t limit);

}  // namespace nextgrad
