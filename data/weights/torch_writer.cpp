// torch.save in its zip format: a pickle of protocol 2, then one entry for each tensor's numbers.
#include <set>

#include "data/files/text.h"
#include "data/weights/torch_file.h"
#include "data/weights/zip.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

// Just the opcodes that a state dict needs; their letters are explained in data/pickle.cpp.
class Pickler {
 public:
  Pickler() { out_ = "\x80\x02"; }
  Pickler& op(std::string_view code) {
    out_ += code;
    return *this;
  }
  Pickler& text(std::string_view value) {
    out_ += 'X';
    little_endian(static_cast<std::uint32_t>(value.size()));
    out_ += value;
    return *this;
  }
  Pickler& integer(std::int64_t value) {
    if (value >= 0 && value <= 0x7fffffff) {
      out_ += 'J';
      little_endian(static_cast<std::int32_t>(value));
    } else {
      out_ += "\x8a\x08";
      little_endian(value);
    }
    return *this;
  }
  Pickler& tuple(const Shape& extents) {
    out_ += '(';
    for (const std::int64_t extent : extents) integer(extent);
    out_ += 't';
    return *this;
  }
  const std::string& str() const { return out_; }

 private:
  template <class T>
  void little_endian(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  std::string out_;
};

// _rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict()); a type without storages of
// its own: _rebuild_tensor_v3(..., dtype) on bytes.
void pickle_tensor(Pickler& p, const std::string& key, const Shape& shape, ElementType type) {
  const ElementFormat& format = format_of(type);
  const bool typed = format.storage != nullptr;
  p.op(typed ? "ctorch._utils\n_rebuild_tensor_v2\n((" : "ctorch._utils\n_rebuild_tensor_v3\n((");
  p.text("storage");
  p.op(typed ? fmt::format("ctorch\n{}\n", format.storage) : "ctorch.storage\nUntypedStorage\n");
  p.text(key).text("cpu");
  p.integer(shape.numel() * (typed ? 1 : static_cast<std::int64_t>(format.bytes)));
  p.op("tQ").integer(0).tuple(shape).tuple(contiguous_strides(shape));
  p.op(
      "\x89"
      "ccollections\nOrderedDict\n)R");
  if (!typed) p.op(fmt::format("ctorch\n{}\n", format.torch));
  p.op("tR");
}

std::string pickle_of(const StateDict& tensors, const std::vector<ElementType>& types,
                      const Metadata& metadata) {
  Pickler p;
  p.op("}(").text("meta").op("}(");
  for (const auto& [key, value] : metadata) p.text(key).text(value);
  p.op("u").text("state_dict").op("ccollections\nOrderedDict\n)R(");
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    p.text(tensors[i].name);
    pickle_tensor(p, std::to_string(i), tensors[i].value.shape(), types[i]);
  }
  return p.op("uu.").str();
}

}  // namespace

void write_torch_file(const std::string& path, const StateDict& tensors,
                      const std::vector<ElementType>& types, const Metadata& metadata) {
  check(types.size() == tensors.size(), "{}: {} types for {} tensors", path, types.size(),
        tensors.size());
  std::set<std::string> names;
  for (const auto& [name, tensor] : tensors)
    check(names.insert(name).second, "{}: two tensors are called {}", path, in_quotes(name));
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
