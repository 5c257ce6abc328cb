#include "data/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "data/file.h"
#include "data/input_file.h"
#include "data/text.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxHeader = 100u << 20;  // the format's own limit
constexpr std::uint64_t kMaxElements = 1ull << 36;

// Refuses, while the header is being parsed, what would cost memory out of proportion (nesting,
// long lists) and what the parser would silently merge (a key twice).
class HeaderGuard {
 public:
  explicit HeaderGuard(const std::string& path) : path_(path) {}
  bool operator()(int depth, json::parse_event_t event, json& parsed) {
    using Event = json::parse_event_t;
    if (depth > 3) fail_input("{}: damaged safetensors header: nested too deeply", path_);
    if (event == Event::value && ++values_ > Shape::kMaxAxes)
      fail_input("{}: damaged safetensors header: a list of more than {} numbers", path_,
                 Shape::kMaxAxes);
    if ((event == Event::array_start || event == Event::object_start) && ++starts_ > 2)
      fail_input("{}: damaged safetensors header: a list of lists", path_);
    if (event == Event::key) on_key(depth, parsed.get_ref<const std::string&>());
    return true;
  }

 private:
  void on_key(int depth, const std::string& key) {
    values_ = starts_ = 0;
    if (depth == 1) inner_.clear();
    if (!(depth == 1 ? outer_ : inner_).insert(key).second)
      fail_input("{}: damaged safetensors header: {} comes twice", path_, in_quotes(key));
  }
  const std::string& path_;
  int values_ = 0, starts_ = 0;  // since the last key
  std::set<std::string> outer_, inner_;
};

struct Entry {
  std::string name;
  ElementType type;
  Shape shape;
  std::uint64_t begin, end;
};

// A whole number >= 0, or throws.
std::uint64_t whole(const json& value, const std::string& path, const std::string& name) {
  if (!value.is_number_unsigned())
    fail_input("{}: tensor {}: a number that is not whole or below 0", path, in_quotes(name));
  return value.get<std::uint64_t>();
}

Shape read_shape(const json& list, const std::string& path, const std::string& name) {
  if (!list.is_array()) fail_input("{}: tensor {}: its shape is no list", path, in_quotes(name));
  Shape shape;
  std::uint64_t numel = 1;
  for (const json& value : list) {
    const std::uint64_t extent = whole(value, path, name);
    std::uint64_t product = 0;
    if (extent > kMaxElements ||
        __builtin_mul_overflow(numel, std::max<std::uint64_t>(extent, 1), &product) ||
        product > kMaxElements)
      fail_input("{}: tensor {}: its shape is absurdly large", path, in_quotes(name));
    numel = product;
    shape.push_back(static_cast<std::int64_t>(extent));
  }
  return shape;
}

Entry read_entry(const std::string& path, const std::string& name, const json& value) {
  if (!is_plain_name(name))
    fail_input("{}: tensor name {} is not plain ASCII", path, in_quotes(name));
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
      !value.contains("shape") || !value.contains("data_offsets"))
    fail_input("{}: tensor {}: wants dtype, shape and data_offsets", path, in_quotes(name));
  const json &dtype = value["dtype"], &offsets = value["data_offsets"];
  const auto formats = element_formats();
  const auto format = std::find_if(formats.begin(), formats.end(),
                                   [&](const ElementFormat& f) { return dtype == f.safetensors; });
  if (format == formats.end())
    fail_input("{}: tensor {}: dtype {} cannot be read", path, in_quotes(name),
               in_quotes(dtype.is_string() ? dtype.get<std::string>() : "?"));
  if (!offsets.is_array() || offsets.size() != 2)
    fail_input("{}: tensor {}: data_offsets are not two numbers", path, in_quotes(name));
  Entry entry{name, format->type, read_shape(value["shape"], path, name),
              whole(offsets[0], path, name), whole(offsets[1], path, name)};
  const std::uint64_t bytes = static_cast<std::uint64_t>(entry.shape.numel()) * format->bytes;
  if (entry.begin > entry.end || entry.end - entry.begin != bytes)
    fail_input("{}: tensor {}: offsets {} to {} do not hold the {} bytes of {}", path,
               in_quotes(name), entry.begin, entry.end, bytes, entry.shape.str());
  return entry;
}

Metadata read_metadata(const std::string& path, const json& object) {
  if (!object.is_object()) fail_input("{}: __metadata__ is no table of texts", path);
  Metadata metadata;
  for (const auto& [key, value] : object.items()) {
    if (!value.is_string()) fail_input("{}: __metadata__ {} is no text", path, in_quotes(key));
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

// The header, and where the numbers begin.
std::pair<json, std::uint64_t> read_header(const InputFile& file) {
  const std::string& path = file.path();
  std::uint64_t length = 0;
  if (file.size() < 8) fail_input("{}: no safetensors file: {} bytes", path, file.size());
  std::vector<std::uint8_t> bytes(8);
  file.read(0, bytes);
  std::memcpy(&length, bytes.data(), 8);
  if (length > kMaxHeader || length > file.size() - 8)
    fail_input("{}: no safetensors file, or truncated: a header of {} bytes in {}", path, length,
               file.size());
  bytes.resize(length);
  file.read(8, bytes);
  try {
    json header = json::parse(bytes.begin(), bytes.end(), HeaderGuard(path));
    if (!header.is_object()) fail_input("{}: damaged safetensors header: no table", path);
    return {std::move(header), 8 + length};
  } catch (const json::exception& e) {
    fail_input("{}: damaged safetensors header: {}", path,
               in_quotes(e.what()));  // may quote the file's bytes
  }
}

}  // namespace

const Tensor* SafeTensors::find(const std::string& name) const {
  for (const NamedTensor& t : tensors)
    if (t.name == name) return &t.value;
  return nullptr;
}

void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const Metadata& metadata) {
  std::vector<ElementType> types;
  for (const NamedTensor& t : tensors) types.push_back(element_type(t.value.dtype()));
  write_safetensors(path, tensors, types, metadata);
}

void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::vector<ElementType>& types, const Metadata& metadata) {
  check(types.size() == tensors.size(), "{}: {} types for {} tensors", path, types.size(),
        tensors.size());
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t offset = 0;
  std::set<std::string> names;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto& [name, tensor] = tensors[i];
    const ElementFormat& format = format_of(types[i]);
    check(names.insert(name).second, "{}: two tensors are called {}", path, name);
    const std::uint64_t end = offset + static_cast<std::uint64_t>(tensor.numel()) * format.bytes;
    header[name] = {
        {"dtype", format.safetensors},
        {"shape", std::vector<std::int64_t>(tensor.shape().begin(), tensor.shape().end())},
        {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the numbers begin aligned
  const std::uint64_t length = text.size();
  AtomicFile file(path);
  file.write(&length, 8);
  file.write(text.data(), text.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto bytes = encode_elements(types[i], tensors[i].value);
    file.write(bytes.data(), bytes.size());
  }
  file.commit();
}

SafeTensors read_safetensors(const std::string& path) {
  const InputFile file(path);
  const auto [header, data_at] = read_header(file);
  SafeTensors result;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__")
      result.metadata = read_metadata(path, value);
    else
      entries.push_back(read_entry(path, name, value));
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  // The tensors must cover the data exactly: no gap, no overlap.
  std::uint64_t at = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != at)
      fail_input("{}: tensor {}: begins at byte {}, expected {}", path, in_quotes(entry.name),
                 entry.begin, at);
    at = entry.end;
  }
  if (at != file.size() - data_at)
    fail_input("{}: truncated or damaged: {} bytes of numbers, the header tells of {}", path,
               file.size() - data_at, at);
  ByteBuffer buffer;
  for (const Entry& entry : entries) {
    const auto bytes = buffer.resize(entry.end - entry.begin);
    file.read(data_at + entry.begin, bytes);
    result.tensors.push_back({entry.name, decode_elements(entry.type, bytes.data(), entry.shape)});
    result.types.push_back(entry.type);
  }
  return result;
}

}  // namespace nextgrad
