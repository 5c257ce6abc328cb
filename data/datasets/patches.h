// A large picture cut into overlapping patches as its rows arrive.
#pragma once

#include <cstdint>
#include <deque>
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

// Holds no more rows than a patch is high.
class PatchCutter {
 public:
  // A picture of height x width pixels of `channels` bytes; where it is smaller than a patch, it
  // goes on with `pad` to the right and below.
  PatchCutter(std::int64_t height, std::int64_t width, std::int64_t channels, std::int64_t patch,
              std::int64_t overlap, std::uint8_t pad);

  // Takes the next row [width,channels] and calls done(top, left) for each patch that it completes
  // (the last row also for those that reach below it); then, and only then, pixels(top, left) gives
  // the patch [patch,patch,channels]. Throws Error for a row too many or of another length.
  using Done = std::function<void(std::int64_t top, std::int64_t left)>;
  void push(std::span<const std::uint8_t> row, const Done& done);
  std::vector<std::uint8_t> pixels(std::int64_t top, std::int64_t left) const;

  const std::vector<std::int64_t>& tops() const { return tops_; }
  const std::vector<std::int64_t>& lefts() const { return lefts_; }

 private:
  void take(std::vector<std::uint8_t> row, const Done& done);
  std::int64_t height_, width_, channels_, patch_;
  std::uint8_t pad_;
  std::vector<std::int64_t> tops_, lefts_;
  std::size_t next_top_ = 0;                   // of tops_: the first not done
  std::int64_t first_row_ = 0, next_row_ = 0;  // of rows_, and the one to come
  std::deque<std::vector<std::uint8_t>> rows_;
};

}  // namespace nextgrad
