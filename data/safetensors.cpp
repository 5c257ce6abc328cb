#include "data/safetensors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "data/file.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

using nlohmann::json;
static_assert(std::endian::native == std::endian::little, "numbers are copied as they lie");

constexpr std::uint64_t kMaxHeader = 100u << 20;  // the format's own limit
constexpr std::uint64_t kMaxFile = 1ull << 36;

struct Format {
  const char* name;
  DType dtype;  // in memory
  std::uint64_t bytes;
};
constexpr Format kFormats[] = {{"F32", DType::f32, 4},   {"F64", DType::f64, 8},
                               {"BF16", DType::bf16, 2}, {"I64", DType::i64, 8},
                               {"I32", DType::i32, 4},   {"U8", DType::u8, 1},
                               {"F16", DType::f32, 2}};

float half_to_float(std::uint16_t h) {
  const int exponent = h >> 10 & 31, mantissa = h & 1023;
  const float sign = (h & 0x8000) != 0 ? -1.0f : 1.0f;
  if (exponent == 31)
    return mantissa != 0 ? std::numeric_limits<float>::quiet_NaN()
                         : sign * std::numeric_limits<float>::infinity();
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
}

// A name as it can stand in a one-line message.
std::string quoted(const std::string& name) {
  return json(name.substr(0, 80)).dump(-1, ' ', true, json::error_handler_t::replace);
}

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
      fail_input("{}: damaged safetensors header: {} comes twice", path_, quoted(key));
  }
  const std::string& path_;
  int values_ = 0, starts_ = 0;  // since the last key
  std::set<std::string> outer_, inner_;
};

struct Entry {
  std::string name;
  Format format;
  Shape shape;
  std::uint64_t begin, end;
};

// A whole number >= 0, or throws.
std::uint64_t whole(const json& value, const std::string& path, const std::string& name) {
  if (!value.is_number_unsigned())
    fail_input("{}: tensor {}: a number that is not whole or below 0", path, quoted(name));
  return value.get<std::uint64_t>();
}

Shape read_shape(const json& list, const std::string& path, const std::string& name) {
  if (!list.is_array()) fail_input("{}: tensor {}: its shape is no list", path, quoted(name));
  Shape shape;
  std::uint64_t numel = 1;
  for (const json& value : list) {
    const std::uint64_t extent = whole(value, path, name);
    std::uint64_t product = 0;
    if (extent > kMaxFile ||
        __builtin_mul_overflow(numel, std::max<std::uint64_t>(extent, 1), &product) ||
        product > kMaxFile)
      fail_input("{}: tensor {}: its shape is absurdly large", path, quoted(name));
    numel = product;
    shape.push_back(static_cast<std::int64_t>(extent));
  }
  return shape;
}

Entry read_entry(const std::string& path, const std::string& name, const json& value) {
  const bool printable = !name.empty() && std::all_of(name.begin(), name.end(),
                                                      [](char c) { return c > 32 && c < 127; });
  if (!printable) fail_input("{}: tensor name {} is not plain ASCII", path, quoted(name));
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
      !value.contains("shape") || !value.contains("data_offsets"))
    fail_input("{}: tensor {}: wants dtype, shape and data_offsets", path, quoted(name));
  const json &dtype = value["dtype"], &offsets = value["data_offsets"];
  const auto format = std::find_if(std::begin(kFormats), std::end(kFormats),
                                   [&](const Format& f) { return dtype == f.name; });
  if (format == std::end(kFormats))
    fail_input("{}: tensor {}: dtype {} cannot be read", path, quoted(name),
               quoted(dtype.is_string() ? dtype.get<std::string>() : "?"));
  if (!offsets.is_array() || offsets.size() != 2)
    fail_input("{}: tensor {}: data_offsets are not two numbers", path, quoted(name));
  Entry entry{name, *format, read_shape(value["shape"], path, name), whole(offsets[0], path, name),
              whole(offsets[1], path, name)};
  const std::uint64_t bytes = static_cast<std::uint64_t>(entry.shape.numel()) * format->bytes;
  if (entry.begin > entry.end || entry.end - entry.begin != bytes)
    fail_input("{}: tensor {}: offsets {} to {} do not hold the {} bytes of {}", path, quoted(name),
               entry.begin, entry.end, bytes, entry.shape.str());
  return entry;
}

Metadata read_metadata(const std::string& path, const json& object) {
  if (!object.is_object()) fail_input("{}: __metadata__ is no table of texts", path);
  Metadata metadata;
  for (const auto& [key, value] : object.items()) {
    if (!value.is_string()) fail_input("{}: __metadata__ {} is no text", path, quoted(key));
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

Tensor read_tensor(const Entry& entry, const std::uint8_t* data) {
  const auto n = static_cast<std::size_t>(entry.shape.numel());
  if (std::string_view(entry.format.name) == "F16") {
    std::vector<float> values(n);
    for (std::size_t i = 0; i < n; ++i) {
      std::uint16_t bits = 0;
      std::memcpy(&bits, data + 2 * i, 2);
      values[i] = half_to_float(bits);
    }
    return Tensor::from(values, entry.shape);
  }
  return dispatch_all(entry.format.dtype, [&]<class T>(T) {
    std::vector<T> values(n);
    if (n > 0) std::memcpy(values.data(), data, n * sizeof(T));
    return Tensor::from(values, entry.shape);
  });
}

// The header, and where the numbers begin.
std::pair<json, std::size_t> read_header(const std::string& path,
                                         const std::vector<std::uint8_t>& file) {
  std::uint64_t length = 0;
  if (file.size() < 8) fail_input("{}: no safetensors file: {} bytes", path, file.size());
  std::memcpy(&length, file.data(), 8);
  if (length > kMaxHeader || length > file.size() - 8)
    fail_input("{}: no safetensors file, or truncated: a header of {} bytes in {}", path, length,
               file.size());
  try {
    json header =
        json::parse(file.begin() + 8, file.begin() + 8 + static_cast<std::ptrdiff_t>(length),
                    HeaderGuard(path));
    if (!header.is_object()) fail_input("{}: damaged safetensors header: no table", path);
    return {std::move(header), 8 + length};
  } catch (const json::exception& e) {
    fail_input("{}: damaged safetensors header: {}", path,
               quoted(e.what()));  // may quote the file's bytes
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
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t offset = 0;
  std::set<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    check(names.insert(name).second, "{}: two tensors are called {}", path, name);
    const auto* format = std::find_if(std::begin(kFormats), std::end(kFormats),
                                      [&](const Format& f) { return f.dtype == tensor.dtype(); });
    const std::uint64_t end = offset + tensor.nbytes();
    header[name] = {
        {"dtype", format->name},
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
  for (const auto& [name, tensor] : tensors)
    dispatch_all(tensor.dtype(), [&]<class T>(T) {
      const std::vector<T> values = tensor.template to_vector<T>();
      file.write(values.data(), values.size() * sizeof(T));
    });
  file.commit();
}

SafeTensors read_safetensors(const std::string& path) {
  const std::vector<std::uint8_t> file = read_file(path, kMaxFile);
  const auto [header, data_at] = read_header(path, file);
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
      fail_input("{}: tensor {}: begins at byte {}, expected {}", path, quoted(entry.name),
                 entry.begin, at);
    at = entry.end;
  }
  if (at != file.size() - data_at)
    fail_input("{}: truncated or damaged: {} bytes of numbers, the header tells of {}", path,
               file.size() - data_at, at);
  for (const Entry& entry : entries)
    result.tensors.push_back({entry.name, read_tensor(entry, file.data() + data_at + entry.begin)});
  return result;
}

}  // namespace nextgrad
