#include "data/datasets/patches.h"

#include <algorithm>

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

PatchCutter::PatchCutter(std::int64_t height, std::int64_t width, std::int64_t channels,
                         std::int64_t patch, std::int64_t overlap, std::uint8_t pad)
    : height_(height),
      width_(width),
      channels_(channels),
      patch_(patch),
      pad_(pad),
      tops_(patch_starts(height, patch, overlap)),
      lefts_(patch_starts(width, patch, overlap)) {}

void PatchCutter::push(std::span<const std::uint8_t> row, const Done& done) {
  check(next_row_ < height_ && row.size() == static_cast<std::size_t>(width_ * channels_),
        "patches: row {} of {}, {} bytes for {} pixels", next_row_, height_, row.size(), width_);
  std::vector<std::uint8_t> padded(static_cast<std::size_t>(std::max(width_, patch_) * channels_),
                                   pad_);
  std::copy(row.begin(), row.end(), padded.begin());
  take(std::move(padded), done);
  if (next_row_ < height_) return;
  const auto bytes = static_cast<std::size_t>(std::max(width_, patch_) * channels_);
  while (next_row_ < patch_) take(std::vector<std::uint8_t>(bytes, pad_), done);
}

void PatchCutter::take(std::vector<std::uint8_t> row, const Done& done) {
  rows_.push_back(std::move(row));
  ++next_row_;
  if (next_row_ < tops_[next_top_] + patch_) return;
  for (const std::int64_t left : lefts_) done(tops_[next_top_], left);
  if (++next_top_ == tops_.size()) return;
  for (; first_row_ < tops_[next_top_]; ++first_row_) rows_.pop_front();
}

std::vector<std::uint8_t> PatchCutter::pixels(std::int64_t top, std::int64_t left) const {
  check(top >= first_row_ && top + patch_ <= next_row_ && left >= 0 &&
            left + patch_ <= std::max(width_, patch_),
        "patches: the patch at ({}, {}) is not held", left, top);
  std::vector<std::uint8_t> out;
  out.reserve(static_cast<std::size_t>(patch_ * patch_ * channels_));
  for (std::int64_t y = top; y < top + patch_; ++y) {
    const auto& row = rows_[static_cast<std::size_t>(y - first_row_)];
    out.insert(out.end(), row.begin() + left * channels_,
               row.begin() + (left + patch_) * channels_);
  }
  return out;
}

}  // namespace nextgrad
