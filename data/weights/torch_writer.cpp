// torch.save in its zip format: a pickle of protocol 2, then one entry for each tensor's numbers.
#include "data/files/text.h"
#include "data/weights/torch_file.h"
#include "data/weights/zip.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

template <class T>
std::string little_endian(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

// Just the opcodes that a state dict needs; their letters are explained in pickle.cpp.
std::string text(std::string_view value) {
  return std::string("X") + little_endian(static_cast<std::uint32_t>(value.size())) +
         std::string(value);
}
std::string integer(std::int64_t value) {
  if (value >= 0 && value <= 0x7fffffff)
    return std::string("J") + little_endian(static_cast<std::int32_t>(value));
  return std::string("\x8a\x08") + little_endian(value);
}
std::string tuple(const Shape& extents) {
  std::string items = "(";
  for (const std::int64_t extent : extents) items += integer(extent);
  return items + "t";
}
const std::string kOrderedDict = "ccollections\nOrderedDict\n)R";

// _rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict()); a type without storages of
// its own: _rebuild_tensor_v3(..., dtype) on bytes.
std::string pickled(const std::string& key, const Shape& shape, ElementType type) {
  const ElementFormat& format = format_of(type);
  const bool typed = format.storage != nullptr;
  const std::int64_t width = typed ? 1 : static_cast<std::int64_t>(format.bytes);
  const std::string storage =
      typed ? fmt::format("ctorch\n{}\n", format.storage) : "ctorch.storage\nUntypedStorage\n";
  return fmt::format("ctorch._utils\n_rebuild_tensor_{}\n((", typed ? "v2" : "v3") +
         text("storage") + storage + text(key) + text("cpu") + integer(shape.numel() * width) +
         "tQ" + integer(0) + tuple(shape) + tuple(contiguous_strides(shape)) + "\x89" +
         kOrderedDict + (typed ? "" : fmt::format("ctorch\n{}\n", format.torch)) + "tR";
}

std::string pickle_of(const StateDict& tensors, const std::vector<ElementType>& types,
                      const Metadata& metadata) {
  std::string meta, weights;
  for (const auto& [key, value] : metadata) meta += text(key) + text(value);
  for (std::size_t i = 0; i < tensors.size(); ++i)
    weights +=
        text(tensors[i].name) + pickled(std::to_string(i), tensors[i].value.shape(), types[i]);
  return std::string("\x80\x02}(") + text("meta") + "}(" + meta + "u" + text("state_dict") +
         kOrderedDict + "(" + weights + "uu.";
}

}  // namespace

void write_torch_file(const std::string& path, const StateDict& tensors,
                      const std::vector<ElementType>& types, const Metadata& metadata) {
  check_names(path, tensors, types);
  const auto bytes = [](std::string_view text) {
    return std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  };
  ZipWriter zip(path);
  zip.add("archive/data.pkl", bytes(pickle_of(tensors, types, metadata)));
  zip.add("archive/byteorder", bytes("little"));
  for (std::size_t i = 0; i < tensors.size(); ++i)
    zip.add(fmt::format("archive/data/{}", i), encode_elements(types[i], tensors[i].value));
  zip.add("archive/version", bytes("3\n"));
  zip.finish();
}

}  // namespace nextgrad
