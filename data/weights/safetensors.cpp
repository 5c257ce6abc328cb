// The .safetensors format, read and written.
#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "data/files/file.h"
#include "data/files/text.h"
#include "data/weights/weights_file.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

using nlohmann::json;

// How the numbers of a file are laid out, and what it says of itself.
struct Entry {
  std::string name;
  ElementType type = ElementType::f32;
  Shape shape = {};
  std::uint64_t begin = 0, end = 0;  // of its bytes, counted from the header's end
};

struct Header {
  std::vector<Entry> entries = {};  // in the order of the bytes, which they cover without a gap
  Metadata metadata = {};
  std::uint64_t bytes = 0;  // of the file before the numbers

  // The check sum of all that the header says, its metadata but for `except`, and every tensor's
  // name, type and shape, whatever their order.
  std::uint32_t sum(const std::string& except) const {
    std::uint32_t sum = 0;
    const auto add = [&sum](const std::string& text) {  // its end counts too
      sum = crc32_of(std::string_view(text.c_str(), text.size() + 1), sum);
    };
    for (const auto& [key, value] : metadata)
      if (key != except) add(key), add(value);
    std::vector<std::string> lines;
    for (const Entry& e : entries)
      lines.push_back(
          fmt::format("{} {} {}", e.name, format_of(e.type).safetensors, e.shape.str()));
    std::sort(lines.begin(), lines.end());
    for (const std::string& line : lines) add(line);
    return sum;
  }

  // As it stands in the file, its length first; the numbers are aligned.
  std::string text() const {
    std::string text = "{";
    if (!metadata.empty()) text += "\"__metadata__\":" + json(metadata).dump();
    for (const Entry& e : entries) {
      const std::vector<std::int64_t> shape(e.shape.begin(), e.shape.end());
      text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                          text.size() > 1 ? "," : "", json(e.name).dump(),
                          format_of(e.type).safetensors, fmt::join(shape, ","), e.begin, e.end);
    }
    text += '}';
    text.resize((text.size() + 7) / 8 * 8, ' ');
    return little_endian(std::uint64_t{text.size()}) + text;
  }
};

// --- the header, checked while it is parsed ---

constexpr std::uint64_t kMaxHeader = 100u << 20;  // the format's own limit
constexpr std::size_t kMaxMetadata = 1u << 16;    // each takes many times its bytes in the file

[[noreturn]] void damaged(const std::string& what) {
  fail_input("damaged safetensors header: {}", what);
}

// Takes the header's tables as they are parsed and drops them: nothing is kept but entries and
// metadata, so neither nesting nor long lists cost memory, and a key that comes twice is seen.
class HeaderParser {
 public:
  using Event = json::parse_event_t;
  explicit HeaderParser(Header& header) : header_(header) {}

  // nlohmann's callback: `value` stands in so many open tables and lists. False drops it.
  bool operator()(int depth, Event event, const json& value) {
    if (event == Event::key) take_key(depth, value);
    if (depth > 1 && event == Event::object_start)
      damaged(fmt::format("{} holds a table", in_quotes(name_)));
    if (depth == 1 && (event == Event::value || event == Event::array_start))
      damaged(fmt::format("no table for {}", in_quotes(name_)));
    if (++events_ > (name_ == kMetadata ? 2 * kMaxMetadata : 100))
      damaged(fmt::format("{} holds too much", in_quotes(name_)));
    const bool whole_table = depth == 1 && event == Event::object_end;
    if (whole_table && name_ != kMetadata) header_.entries.push_back(entry_of(value));
    if (whole_table && name_ == kMetadata) take_metadata(value);
    return !whole_table;
  }

 private:
  [[noreturn]] void bad(const std::string& what) const {
    fail_input("tensor {}: {}", in_quotes(name_), what);
  }

  void take_key(int depth, const std::string& key) {
    if (depth == 1) {
      name_ = key;
      keys_.clear();
      events_ = 0;
    }
    if (!(depth == 1 ? names_ : keys_).insert(key).second)
      damaged(fmt::format("{} comes twice", in_quotes(key)));
  }

  void take_metadata(const json& table) {
    for (const auto& [key, text] : table.items()) {
      if (!text.is_string()) damaged(fmt::format("{} of {} is no text", in_quotes(key), kMetadata));
      header_.metadata[key] = text;
    }
  }

  // A list of whole numbers from 0 on.
  std::vector<std::uint64_t> numbers(const json& list, const char* what) const {
    const bool good = list.is_array() && std::all_of(list.begin(), list.end(), [](const json& x) {
                        return x.is_number_unsigned();
                      });
    if (!good) bad(fmt::format("{} is no list of whole numbers", what));
    return list;
  }

  Entry entry_of(const json& table) const {
    if (!is_plain_name(name_)) fail_input("tensor name {} is not plain ASCII", in_quotes(name_));
    for (const char* key : {"dtype", "shape", "data_offsets"})
      if (!table.contains(key) || table.size() != 3)
        bad("wants dtype, shape and data_offsets, and nothing else");
    Entry entry{.name = name_, .type = type_of(table["dtype"])};
    std::uint64_t numel = 1;
    const auto extents = numbers(table["shape"], "shape"),
               offsets = numbers(table["data_offsets"], "data_offsets");
    if (extents.size() > Shape::kMaxAxes)
      bad(fmt::format("it has more than {} axes", Shape::kMaxAxes));
    if (offsets.size() != 2) bad("data_offsets are not two");
    for (const std::uint64_t extent : extents) {
      if (extent > kMaxElements ||
          __builtin_mul_overflow(numel, std::max<std::uint64_t>(extent, 1), &numel) ||
          numel > kMaxElements)
        bad("its shape is absurdly large");
      entry.shape.push_back(static_cast<std::int64_t>(extent));
    }
    entry.begin = offsets[0];
    entry.end = offsets[1];
    const std::uint64_t bytes =
        static_cast<std::uint64_t>(entry.shape.numel()) * format_of(entry.type).bytes;
    if (entry.begin > entry.end || entry.end - entry.begin != bytes)
      bad(fmt::format("offsets {} to {} do not hold the {} bytes of {}", entry.begin, entry.end,
                      bytes, entry.shape.str()));
    return entry;
  }

  ElementType type_of(const json& name) const {
    for (const ElementFormat& format : element_formats())
      if (name == format.safetensors) return format.type;
    bad(fmt::format("dtype {} cannot be read",
                    in_quotes(name.is_string() ? name.get<std::string>() : name.dump())));
  }

  static constexpr const char* kMetadata = "__metadata__";
  Header& header_;
  std::string name_;                    // of the open table
  std::set<std::string> names_, keys_;  // of all tables, and within the open one
  std::size_t events_ = 0;              // within the open one
};

// The tensors must cover the data exactly: no gap, no overlap.
void check_cover(std::uint64_t data_bytes, std::vector<Entry>& entries) {
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t at = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != at)
      fail_input("tensor {}: begins at byte {}, expected {}", in_quotes(entry.name), entry.begin,
                 at);
    at = entry.end;
  }
  if (at != data_bytes)
    fail_input("truncated or damaged: {} bytes of numbers, the header tells of {}", data_bytes, at);
}

// Time is that of sorting, memory in proportion to the header's bytes.
Header read_header(const InputFile& file) {
  std::uint64_t length = 0;
  if (file.size() < 8) fail_input("no safetensors file: {} bytes", file.size());
  std::vector<std::uint8_t> bytes(8);
  file.read(0, bytes);
  std::memcpy(&length, bytes.data(), 8);
  if (length > kMaxHeader || length > file.size() - 8)
    fail_input("no safetensors file, or truncated: a header of {} bytes in {}", length,
               file.size());
  bytes.resize(length);
  file.read(8, bytes);
  Header header{.bytes = 8 + length};
  try {
    if (!json::parse(bytes, HeaderParser(header)).is_object()) damaged("no table");
  } catch (const json::parse_error& error) {
    damaged(fmt::format("no JSON at byte {}", error.byte));
  } catch (const json::out_of_range&) {
    damaged("a number out of all range");
  }
  check_cover(file.size() - header.bytes, header.entries);
  return header;
}

// --- check sums ---

// Check sums of our files stand in the metadata as texts of 8 hexadecimal digits: `crc32` holds a
// JSON table of those of the tensors' bytes, by name, `crc32.header` that of all the rest.
const std::string kSums = "crc32", kHeaderSum = "crc32.header";

std::string hex(std::uint32_t sum) {
  return fmt::format("{:08x}", sum);
}

// As JSON can hold it: what is not UTF-8 is replaced.
std::string storable(const std::string& text) {
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace));
}

void set_sums(Header& header, const std::vector<std::uint32_t>& sums) {
  json table = json::object();
  for (std::size_t i = 0; i < sums.size(); ++i) table[header.entries[i].name] = hex(sums[i]);
  header.metadata[kSums] = table.dump();
  header.metadata[kHeaderSum] = hex(header.sum(kHeaderSum));
}

[[noreturn]] void wrong_sum(const std::string& what) {
  fail_input(
      "{} does not match its check sum: the file was damaged since it was written (or changed by a "
      "program that kept the old metadata crc32); use another copy",
      what);
}

// The tensors' sums by name, taken out of the metadata as is the header's, which is checked. Empty
// for a file without sums.
std::optional<std::map<std::string, std::string>> take_sums(Header& header) {
  Metadata& metadata = header.metadata;
  const auto sums = metadata.find(kSums), of_header = metadata.find(kHeaderSum);
  if (sums == metadata.end() && of_header == metadata.end()) return std::nullopt;
  std::size_t most = 2;  // so many characters has a table that holds sums alone
  for (const auto& entry : header.entries) most += 2 * entry.name.size() + 16;
  if (sums == metadata.end() || of_header == metadata.end() || sums->second.size() > most ||
      of_header->second != hex(header.sum(kHeaderSum)))
    wrong_sum("its header");
  std::map<std::string, std::string> table;
  try {
    json::parse(sums->second).get_to(table);
  } catch (const json::exception&) {
    wrong_sum("its header");
  }
  metadata.erase(sums);
  metadata.erase(of_header);
  return table;
}

}  // namespace

void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const Metadata& metadata) {
  std::vector<ElementType> types;
  for (const NamedTensor& t : tensors) types.push_back(element_type(t.value.dtype()));
  write_safetensors(path, tensors, types, metadata);
}

void check_names(const std::string& path, const std::vector<NamedTensor>& tensors,
                 const std::vector<ElementType>& types) {
  check(types.size() == tensors.size(), "{}: {} types for {} tensors", path, types.size(),
        tensors.size());
  std::set<std::string> names;
  for (const auto& [name, tensor] : tensors)
    check(names.insert(name).second, "{}: two tensors are called {}", path, in_quotes(name));
}

void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::vector<ElementType>& types, const Metadata& metadata) {
  check_names(path, tensors, types);
  Header header;
  for (const auto& [key, value] : metadata) header.metadata[storable(key)] = storable(value);
  std::uint64_t offset = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto& [name, tensor] = tensors[i];
    const std::uint64_t begin = offset;
    offset += static_cast<std::uint64_t>(tensor.numel()) * format_of(types[i]).bytes;
    header.entries.push_back({name, types[i], tensor.shape(), begin, offset});
  }
  std::vector<std::uint32_t> sums(tensors.size());
  set_sums(header, sums);
  AtomicFile file(path);
  const std::string before = header.text();
  file.write(before.data(), before.size());
  // The numbers are encoded once: their sums are known last, but how long the header is before.
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto bytes = encode_elements(types[i], tensors[i].value);
    sums[i] = crc32_of(bytes);
    file.write(bytes.data(), bytes.size());
  }
  set_sums(header, sums);
  const std::string text = header.text();
  file.write_at(0, text.data(), text.size());
  file.commit();
}

WeightsFile read_safetensors(const std::string& path) {
  return in_file(path, [&] {
    const InputFile file(path);
    Header header = read_header(file);
    const auto sums = take_sums(header);
    WeightsFile result{.format = "safetensors",
                       .metadata = std::move(header.metadata),
                       .summed = sums.has_value()};
    std::uint64_t most_bytes = 0;
    for (const auto& entry : header.entries)
      most_bytes = std::max(most_bytes, entry.end - entry.begin);
    const auto room = make_room(most_bytes);
    for (const auto& entry : header.entries) {
      const std::span bytes(room.get(), entry.end - entry.begin);
      file.read(header.bytes + entry.begin, bytes);
      if (sums) {
        const auto sum = sums->find(entry.name);
        if (sum == sums->end() || sum->second != hex(crc32_of(bytes)))
          wrong_sum("tensor " + in_quotes(entry.name));
      }
      result.tensors.push_back(
          {entry.name, decode_elements(entry.type, bytes.data(), entry.shape)});
      result.types.push_back(entry.type);
    }
    return result;
  });
}

}  // namespace nextgrad
