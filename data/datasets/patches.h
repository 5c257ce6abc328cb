// A large picture cut into overlapping patches as its rows arrive.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tensor/error.h"

namespace nextgrad {

// Where patches of `patch` pixels begin along a side of `length`: every patch - overlap pixels, the
// last ones moved back to end with the side, each once, in ascending order; a side shorter than a
// patch has one. Throws Error unless 0 <= overlap < patch and length >= 1.
inline std::vector<std::int64_t> patch_starts(std::int64_t length, std::int64_t patch,
                                              std::int64_t overlap) {
  check(length >= 1 && overlap >= 0 && overlap < patch, "patches of {} with overlap {} in {}",
        patch, overlap, length);
  const std::int64_t last = std::max<std::int64_t>(length - patch, 0);
  std::vector<std::int64_t> starts;
  for (std::int64_t at = 0; at < last; at += patch - overlap) starts.push_back(at);
  starts.push_back(last);
  return starts;
}

// "NAME_top_bottom_left_right", as MMSegmentation names the patches of iSAID.
inline std::string patch_name(const std::string& name, std::int64_t top, std::int64_t left,
                              std::int64_t patch) {
  return fmt::format("{}_{}_{}_{}_{}", name, top, top + patch, left, left + patch);
}

// A picture of height x width pixels of `channels` bytes and its patches; where it is smaller than
// a patch, it goes on with `pad` to the right and below.
struct PatchGrid {
  std::int64_t height, width, channels, patch, overlap;
  std::uint8_t pad;

  std::vector<std::int64_t> tops() const { return patch_starts(height, patch, overlap); }
  std::vector<std::int64_t> lefts() const { return patch_starts(width, patch, overlap); }
};
// Calls next(row) to fill each row [width,channels], from the top down, and take(top, left, pixels
// [patch,patch,channels]) for each patch as soon as its rows are there. Holds no more rows than a
// patch is high. Returns false if next() did: it ends there.
using NextRow = std::function<bool(std::span<std::uint8_t> row)>;
using TakePatch =
    std::function<void(std::int64_t top, std::int64_t left, std::vector<std::uint8_t> pixels)>;
inline bool cut_patches(const PatchGrid& grid, const NextRow& next, const TakePatch& take) {
  const auto bytes = [&](std::int64_t pixels) {
    return static_cast<std::size_t>(pixels * grid.channels);
  };
  const std::vector<std::int64_t> lefts = grid.lefts();
  std::deque<std::vector<std::uint8_t>> rows;  // from the patches' top down
  std::int64_t read = 0;
  for (const std::int64_t top : grid.tops()) {
    while (read - std::ssize(rows) < top) rows.pop_front();
    for (; read < top + grid.patch; ++read) {
      std::vector<std::uint8_t> row(bytes(std::max(grid.width, grid.patch)), grid.pad);
      if (read < grid.height && !next(std::span(row).first(bytes(grid.width)))) return false;
      rows.push_back(std::move(row));
    }
    for (const std::int64_t left : lefts) {
      std::vector<std::uint8_t> pixels;
      pixels.reserve(bytes(grid.patch * grid.patch));
      for (const auto& row : rows) {
        const auto part = std::span(row).subspan(bytes(left), bytes(grid.patch));
        pixels.insert(pixels.end(), part.begin(), part.end());
      }
      take(top, left, std::move(pixels));
    }
  }
  return true;
}

}  // namespace nextgrad
