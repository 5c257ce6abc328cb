// MNIST's file format: a magic number (two zeros, 8 = bytes, the number of extents), the extents as
// big-endian 32-bit numbers, the bytes.
#pragma once

#include <string>
#include <vector>

#include "data/datasets/class_dataset.h"

namespace nextgrad {

// The bytes of a file, decompressed if it begins as gzip does. Throws InputError for a damaged one
// and for more than `limit` bytes.
std::vector<std::uint8_t> read_gzip(const std::string& path, std::uint64_t limit);

class IdxDataset : public ClassDataset {
 public:
  // See ClassDatasetConfig. Ten labels get Fashion-MNIST's names if the folder's name has `fashion`
  // in it; else classes are called by their numbers.
  IdxDataset(const std::string& root, const std::string& split);
  std::int64_t size() const override { return static_cast<std::int64_t>(labels_.size()); }
  std::string name(std::int64_t i) const override;
  int label(std::int64_t i) const override;
  Image load(std::int64_t i) const override;

 private:
  std::string split_;
  std::int64_t height_ = 0, width_ = 0;
  std::vector<std::uint8_t> pixels_, labels_;
};

}  // namespace nextgrad
