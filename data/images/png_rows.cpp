#include "data/images/png_rows.h"

#include <spng.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "data/images/codecs.h"
#include "tensor/error.h"

namespace nextgrad {

struct PngRows::State {
  std::string path;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{nullptr, &std::fclose};
  std::unique_ptr<spng_ctx, decltype(&spng_ctx_free)> context{nullptr, &spng_ctx_free};

  void check(int code) const {
    if (code != 0) fail_input("{}: damaged or truncated PNG: {}", path, spng_strerror(code));
  }
};

PngRows::PngRows(const std::string& path) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.path = path;
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) fail_input("{}: is no readable file", path);
  s.file.reset(std::fopen(path.c_str(), "rb"));
  if (s.file == nullptr) fail_input("{}: cannot read: {}", path, std::strerror(errno));
  s.context.reset(spng_ctx_new(0));
  if (s.context == nullptr) fail("{}: out of memory", path);
  constexpr std::size_t kChunk = 64u << 20;
  s.check(spng_set_chunk_limits(s.context.get(), kChunk, kChunk));
  s.check(spng_set_png_file(s.context.get(), s.file.get()));
  spng_ihdr header{};
  s.check(spng_get_ihdr(s.context.get(), &header));
  height_ = header.height;
  width_ = header.width;
  grey_ = header.color_type == SPNG_COLOR_TYPE_GRAYSCALE ||
          header.color_type == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA;
  if (width_ > 1 << 17 || height_ * width_ > std::int64_t{1} << 33)
    fail_input("{}: {} x {} pixels; at most 131072 a row and 2^33 in all are read", path, width_,
               height_);
  if (header.interlace_method != 0)
    fail_input("{}: is interlaced; save it as a plain PNG, its rows are read one by one", path);
  spng_exif exif{};
  if (spng_get_exif(s.context.get(), &exif) == 0 &&
      codecs::tiff_orientation({reinterpret_cast<const std::uint8_t*>(exif.data), exif.length}) !=
          1)
    fail_input("{}: is turned by its EXIF orientation; save it upright, without it", path);
  s.check(spng_decode_image(s.context.get(), nullptr, 0, SPNG_FMT_RGB8, SPNG_DECODE_PROGRESSIVE));
}

PngRows::~PngRows() = default;

void PngRows::next(std::span<std::uint8_t> rgb) {
  const State& s = *state_;
  nextgrad::check(row_ < height_ && rgb.size() == static_cast<std::size_t>(3 * width_),
                  "{}: row {} of {}, {} bytes for {} pixels", s.path, row_, height_, rgb.size(),
                  width_);
  const int code = spng_decode_row(s.context.get(), rgb.data(), rgb.size());
  ++row_;
  if (row_ < height_) return s.check(code);
  if (code != SPNG_EOI) s.check(code);
  s.check(spng_decode_chunks(s.context.get()));  // up to the end: a cut file is an error
}

}  // namespace nextgrad
