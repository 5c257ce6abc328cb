// A PNG read a row at a time, for pictures too large to hold in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace nextgrad {

class PngRows {
 public:
  // Reads the header. Throws InputError for a file that cannot be read or is no PNG, for an
  // interlaced one (its rows do not come in order), for one turned by EXIF, and for more than 2^17
  // pixels a row or 2^33 in all.
  explicit PngRows(const std::string& path);
  ~PngRows();
  PngRows(const PngRows&) = delete;
  PngRows& operator=(const PngRows&) = delete;

  std::int64_t height() const { return height_; }
  std::int64_t width() const { return width_; }
  bool grey() const { return grey_; }
  // The next row as 8-bit RGB [width,3], palettes and 16 bits converted. Throws InputError if the
  // file is damaged or truncated, Error after the last row and for another length.
  void next(std::span<std::uint8_t> rgb);

 private:
  struct State;
  std::unique_ptr<State> state_;
  std::int64_t height_ = 0, width_ = 0, row_ = 0;
  bool grey_ = false;
};

}  // namespace nextgrad
