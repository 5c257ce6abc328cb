#include "tensor/cpu/kit/taps.h"

namespace nextgrad::cpu {

std::vector<Tap> make_taps(std::int64_t in, std::int64_t out, Resize mode) {
  std::vector<Tap> taps(out);
  const double ratio = static_cast<double>(in) / out;
  const double corner = out > 1 ? static_cast<double>(in - 1) / (out - 1) : 0.0;
  for (std::int64_t i = 0; i < out; ++i) {
    Tap& tap = taps[i];
    if (mode == Resize::nearest) {
      tap.first = tap.second = i * in / out;
      continue;
    }
    const double source = mode == Resize::bilinear_align_corners
                              ? i * corner
                              : std::max(0.0, (i + 0.5) * ratio - 0.5);
    tap.first = std::min(in - 1, static_cast<std::int64_t>(source));
    tap.second = std::min(in - 1, tap.first + 1);
    tap.t = tap.second == tap.first ? 0.0 : source - tap.first;
  }
  return taps;
}

std::vector<Tap> band_taps(const RowBand& b) {
  check(
      b.out_rows > 0 && b.out_top >= 0 && b.out_top + b.out_rows <= b.out_height && b.in_height > 0,
      "resize: rows {} to {} of {}, from {}", b.out_top, b.out_top + b.out_rows, b.out_height,
      b.in_height);
  const std::vector<Tap> all = make_taps(b.in_height, b.out_height, Resize::bilinear);
  return {all.begin() + b.out_top, all.begin() + b.out_top + b.out_rows};
}

}  // namespace nextgrad::cpu
