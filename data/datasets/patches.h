// A large picture cut into overlapping patches as its rows arrive.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace nextgrad {

// Where patches of `patch` pixels begin along a side of `length`: every patch - overlap pixels, the
// last ones moved back to end with the side, each once, in ascending order; a side shorter than a
// patch has one. Throws Error unless 0 <= overlap < patch and length >= 1.
std::vector<std::int64_t> patch_starts(std::int64_t length, std::int64_t patch,
                                       std::int64_t overlap);

// "NAME_top_bottom_left_right", as MMSegmentation names the patches of iSAID.
std::string patch_name(const std::string& name, std::int64_t top, std::int64_t left,
                       std::int64_t patch);

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
bool cut_patches(const PatchGrid& grid, const NextRow& next, const TakePatch& take);

}  // namespace nextgrad
