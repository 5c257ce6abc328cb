#include "data/weights_file.h"

#include <algorithm>
#include <string_view>

#include "data/input_file.h"
#include "data/torch_file.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

// What people give by mistake, and what to do about it.
void explain(const std::string& path, std::string_view head) {
  if (head.starts_with("version https://git-lfs"))
    fail_input("{}: is a Git LFS pointer, not the file itself; run git lfs pull", path);
  if (head.starts_with("<") || head.starts_with("\n<"))
    fail_input("{}: is a web page, not weights; download the file itself", path);
  if (head.starts_with("\x89HDF"))
    fail_input("{}: is an HDF5 file (Keras?), not PyTorch weights; give .pth or .safetensors",
               path);
  if (head.starts_with("\x1f\x8b"))
    fail_input("{}: is compressed with gzip; unpack it first", path);
}

}  // namespace

WeightsFile read_weights(const std::string& path) {
  const std::string head = InputFile(path).head();
  if (is_torch_file(head)) return read_torch_file(path);
  explain(path, head);
  // The first byte of the header is that of a JSON object.
  if (head.size() < 9 || head[8] != '{')
    fail_input("{}: is neither a .safetensors file nor a PyTorch .pth; name a file of weights",
               path);
  SafeTensors file = read_safetensors(path);
  return {.format = "safetensors",
          .key = {},
          .tensors = std::move(file.tensors),
          .types = std::move(file.types),
          .metadata = std::move(file.metadata),
          .beside = {}};
}

}  // namespace nextgrad
