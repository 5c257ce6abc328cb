#include "apps/inference/protocol.h"

#include <algorithm>

#include "tensor/error.h"

namespace nextgrad {
namespace {

// The smallest side the network takes.
constexpr std::int64_t kLeast = 32;

void check_window(const Protocol& p, const char* window, const char* stride) {
  if (p.window.height == 0 && p.stride.height > 0)
    fail_input("{} needs {}: the size of the sliding window", stride, window);
  if (p.stride.height > p.window.height || p.stride.width > p.window.width)
    fail_input("{} {} is above {} {}: pixels between the windows would have no class; lower it",
               stride, p.stride.str(), window, p.window.str());
}

}  // namespace

Protocol make_protocol(const ProtocolSizes& sizes, const Normalize& normalize,
                       const char* window_option, const char* stride_option) {
  Protocol p;
  p.window_option = window_option;
  p.window = sizes.window;
  p.stride = sizes.stride;
  check_window(p, window_option, stride_option);
  if (p.stride.height == 0) p.stride = {p.window.height * 3 / 4, p.window.width * 3 / 4};
  p.transform.height = sizes.size.height;
  p.transform.width = sizes.size.width;
  p.transform.base_short = std::min(sizes.base.height, sizes.base.width);
  p.transform.base_long = std::max(sizes.base.height, sizes.base.width);
  p.transform.multiple = sizes.multiple;
  p.transform.least = kLeast;
  p.transform.normalize = normalize;
  return p;
}

Protocol val_protocol(const TrainConfig& c) {
  return make_protocol({c.val_size, c.base_size, c.val_window, c.val_stride, c.val_multiple}, {},
                       "--val-window", "--val-stride");
}

}  // namespace nextgrad
