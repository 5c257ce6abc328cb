// PyTorch's checkpoint files, read and written.
#include <algorithm>
#include <cstring>
#include <map>
#include <optional>

#include "data/files/file.h"
#include "data/files/text.h"
#include "data/weights/pickle.h"
#include "data/weights/torch_pickle.h"
#include "data/weights/weights_file.h"
#include "data/weights/zip.h"
#include "tensor/error.h"
#include "tensor/strided.h"

namespace nextgrad {
namespace {

constexpr std::uint64_t kMaxPickle = 64u << 20;
// Tensors may share numbers, so a small file could ask for any amount of memory.
constexpr std::uint64_t kMaxGrowth = 8, kFreeBytes = 1u << 20;

// The magic number 0x1950a86a20f9469cfc6c that opens the older format, pickled.
constexpr std::string_view kLegacyMagic("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e", 13);

// --- numbers of a storage -> tensors ---

// Copies the elements of so many bytes from the view's `axis`-th axis on, row-major.
void gather(const Strided<1>& view, std::uint64_t bytes, int axis, const std::uint8_t* from,
            std::uint8_t*& into) {
  if (axis == view.axes) {
    std::memcpy(into, from, bytes);
    into += bytes;
    return;
  }
  const auto at = static_cast<std::size_t>(axis);
  const std::uint64_t stride = static_cast<std::uint64_t>(view.stride[0][at]) * bytes;
  for (std::int64_t i = 0; i < view.extent[at]; ++i, from += stride)
    gather(view, bytes, axis + 1, from, into);
}

Tensor make_tensor(const TorchTensor& t, std::span<const std::uint8_t> storage) {
  const std::uint64_t bytes = format_of(t.type).bytes;
  if (t.shape.numel() == 0) return decode_elements(t.type, storage.data(), t.shape);
  const std::uint8_t* first = storage.data() + t.offset * bytes;
  const Strided<1> view = collapse<1>(t.shape, {t.strides});
  if (view.axes == 1 && view.stride[0][0] == 1) return decode_elements(t.type, first, t.shape);
  const auto room = make_room(static_cast<std::uint64_t>(t.shape.numel()) * bytes);
  std::uint8_t* next = room.get();
  gather(view, bytes, 0, first, next);
  return decode_elements(t.type, room.get(), t.shape);
}

// `sizes`: the bytes of each storage in a file of so many, by key; `read(key, into)` gives those
// bytes, and is asked once for each, in the pickle's order.
template <class Read>
WeightsFile make_weights(const char* format, TorchWeights&& weights, std::uint64_t file_bytes,
                         const std::map<std::string, std::uint64_t>& sizes, const Read& read) {
  std::uint64_t most_bytes = 0;
  for (const TorchStorage& storage : weights.storages) {
    const auto size = sizes.find(storage.key);
    if (size == sizes.end()) fail_input("damaged: storage {} is missing", in_quotes(storage.key));
    if (size->second != storage.bytes())
      fail_input("damaged: storage {} has {} bytes, the pickle tells of {}", in_quotes(storage.key),
                 size->second, storage.bytes());
    most_bytes = std::max(most_bytes, size->second);
  }
  WeightsFile file = std::move(weights.file);
  file.format = format;
  std::vector<std::vector<std::size_t>> users(weights.storages.size());
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < weights.tensors.size(); ++i) {
    const TorchTensor& t = weights.tensors[i];
    total += static_cast<std::uint64_t>(t.shape.numel()) * size_of(format_of(t.type).memory);
    if (total > kMaxGrowth * file_bytes + kFreeBytes)
      fail_input(
          "its tensors share numbers and would take over {} times the file's bytes; save clones "
          "of what is needed",
          kMaxGrowth);
    users[t.storage].push_back(i);
    file.types.push_back(t.type);
  }
  file.tensors.resize(weights.tensors.size());
  const auto room = make_room(most_bytes);
  for (std::size_t s = 0; s < users.size(); ++s) {
    const std::span bytes(room.get(), weights.storages[s].bytes());
    read(weights.storages[s].key, bytes);
    for (const std::size_t i : users[s])
      file.tensors[i] = {weights.tensors[i].name, make_tensor(weights.tensors[i], bytes)};
  }
  return file;
}

void check_byte_order(bool little) {
  if (!little)
    fail_input("was written on a big-endian machine; save it again on a little-endian one");
}

// --- the zip format: a folder with data.pkl, byteorder and data/KEY for each storage ---

WeightsFile read_zip(const InputFile& file) {
  const ZipReader archive(file);
  const auto& entries = archive.entries();
  std::string folder;  // "archive/"
  for (const auto& [name, entry] : entries)
    if (const std::size_t slash = name.find('/');
        slash != name.npos && name.substr(slash + 1) == "data.pkl")
      folder = name.substr(0, slash + 1);
  if (folder.empty())
    fail_input("a zip archive without data.pkl is no PyTorch file; name a .pth or .safetensors");
  if (entries.contains(folder + "constants.pkl"))
    fail_input("is a TorchScript program; in Python save model.state_dict()");
  const auto read_small = [&](const char* entry, std::uint64_t limit) {
    const std::string name = folder + entry;
    const std::uint64_t size = entries.at(name).size;
    if (size > limit)
      fail_input("its {} has {} bytes, at most {} are read", in_quotes(name), size, limit);
    std::vector<std::uint8_t> bytes(size);
    archive.read(name, bytes);
    return bytes;
  };
  if (entries.contains(folder + "byteorder")) {
    const auto bytes = read_small("byteorder", 64);
    check_byte_order(std::string(bytes.begin(), bytes.end()) == "little");
  }
  TorchWeights weights = find_weights(parse_pickle(read_small("data.pkl", kMaxPickle)));
  const std::string data = folder + "data/";
  std::map<std::string, std::uint64_t> sizes;
  for (const auto& [name, entry] : entries)
    if (name.starts_with(data)) sizes[name.substr(data.size())] = entry.size;
  return make_weights(
      "PyTorch zip", std::move(weights), file.size(), sizes,
      [&](const std::string& key, std::span<std::uint8_t> to) { archive.read(data + key, to); });
}

// --- the older format: pickles of the magic number, a version, the writer's machine, the object
// and the storages' keys; then for each key its number of elements (8 bytes) and the elements ---

using Bytes = std::span<const std::uint8_t>;

Pickle take_pickle(Bytes& rest) {
  Pickle pickle = parse_pickle(rest);
  rest = rest.subspan(pickle.bytes);
  return pickle;
}

// Where each storage's bytes are, by key.
std::map<std::string, Bytes> take_storages(
    Bytes& rest, const std::map<std::string, std::uint64_t>& element_bytes) {
  const auto take = [&](std::uint64_t n) {
    if (n > rest.size()) fail_input("truncated: a storage ends after the file");
    const Bytes part = rest.first(n);
    rest = rest.subspan(n);
    return part;
  };
  const Pickle keys = take_pickle(rest);
  std::map<std::string, Bytes> places;
  for (const Pickle::Node* item : keys.top().items) {
    const std::string& key = item->text;
    std::uint64_t numel = 0;
    std::memcpy(&numel, take(8).data(), 8);
    const auto known = element_bytes.find(key);
    if (known == element_bytes.end())
      fail_input("damaged: the type of storage {} is not told", in_quotes(key));
    if (numel > rest.size() / known->second)
      fail_input("truncated or damaged: storage {} is longer than the file", in_quotes(key));
    if (!places.emplace(key, take(numel * known->second)).second)
      fail_input("damaged: storage {} comes twice", in_quotes(key));
  }
  if (!rest.empty()) fail_input("damaged: {} bytes follow the last storage", rest.size());
  return places;
}

WeightsFile read_legacy(const std::string& path) {
  const std::vector<std::uint8_t> file = read_file(path);
  Bytes rest = file;
  take_pickle(rest);  // the magic number
  if (const auto version = take_pickle(rest).top().integer; version != 1001)
    fail_input("version {} of PyTorch's older format is not known; save it again with torch.save",
               version);
  const Pickle machine = take_pickle(rest);
  const Pickle::Node* little = machine.top().find("little_endian");
  check_byte_order(little == nullptr || little->integer != 0);
  const Pickle pickle = take_pickle(rest);
  TorchWeights weights = find_weights(pickle);
  const auto places = take_storages(rest, storage_element_bytes(pickle));
  std::map<std::string, std::uint64_t> sizes;
  for (const auto& [key, bytes] : places) sizes[key] = bytes.size();
  return make_weights("PyTorch legacy", std::move(weights), file.size(), sizes,
                      [&](const std::string& key, std::span<std::uint8_t> into) {
                        const Bytes bytes = places.at(key);  // not aligned in the file
                        std::copy(bytes.begin(), bytes.end(), into.begin());
                      });
}

// --- writing: a pickle of protocol 2, then one entry for each tensor's numbers ---

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

std::optional<WeightsFile> read_torch_file(const InputFile& file) {
  const std::string head = file.head();
  if (head.starts_with("PK\x03\x04")) return read_zip(file);
  // After the protocol, from 4 on also a frame.
  if (head.starts_with('\x80') && head.substr(0, 32).find(kLegacyMagic) != head.npos)
    return read_legacy(file.path());
  if (head.size() >= 262 && head.substr(257, 5) == "ustar")
    fail_input(
        "is a tar archive as PyTorch wrote before 0.1.10; load it in Python and save it again "
        "with torch.save");
  return std::nullopt;
}

void write_torch_file(const std::string& path, const StateDict& tensors,
                      const std::vector<ElementType>& types, const Metadata& metadata) {
  check_names(path, tensors, types);
  ZipWriter zip(path);
  zip.add("archive/data.pkl", byte_span(pickle_of(tensors, types, metadata)));
  zip.add("archive/byteorder", byte_span("little"));
  for (std::size_t i = 0; i < tensors.size(); ++i)
    zip.add(fmt::format("archive/data/{}", i), encode_elements(types[i], tensors[i].value));
  zip.add("archive/version", byte_span("3\n"));
  zip.finish();
}

}  // namespace nextgrad
