#include "data/datasets/patches.h"

#include <algorithm>
#include <deque>

#include "tensor/error.h"

namespace nextgrad {

std::vector<std::int64_t> patch_starts(std::int64_t length, std::int64_t patch,
                                       std::int64_t overlap) {
  check(length >= 1 && overlap >= 0 && overlap < patch, "patches of {} with overlap {} in {}",
        patch, overlap, length);
  const std::int64_t last = std::max<std::int64_t>(length - patch, 0);
  std::vector<std::int64_t> starts;
  for (std::int64_t at = 0; at < last; at += patch - overlap) starts.push_back(at);
  starts.push_back(last);
  return starts;
}

std::string patch_name(const std::string& name, std::int64_t top, std::int64_t left,
                       std::int64_t patch) {
  return fmt::format("{}_{}_{}_{}_{}", name, top, top + patch, left, left + patch);
}

bool cut_patches(const PatchGrid& grid, const NextRow& next, const TakePatch& take) {
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
