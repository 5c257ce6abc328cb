#include "data/weights/safetensors_header.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "data/files/crc32.h"
#include "data/files/text.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

using nlohmann::json;
using Entry = SafeTensorsHeader::Entry;

constexpr std::uint64_t kMaxHeader = 100u << 20;  // the format's own limit
constexpr std::uint64_t kMaxElements = 1ull << 36;
constexpr std::size_t kMaxMetadata = 1u << 16;  // each takes many times its bytes in the file

// Takes the header's JSON as it is parsed: nothing is kept but entries and metadata, so neither
// nesting nor long lists cost memory, and a key that comes twice is seen.
class HeaderParser : public nlohmann::json_sax<json> {
 public:
  HeaderParser(const std::string& path, SafeTensorsHeader& header) : path_(path), header_(header) {}

  bool start_object(std::size_t) override {
    if (depth_ == 0) return ++depth_, true;
    if (depth_ == 1 && list_ == nullptr) return begin_entry(), ++depth_, true;
    unexpected("a table");
  }
  bool end_object() override {
    if (--depth_ == 1 && !in_metadata_) end_entry();
    return true;
  }
  bool key(std::string& name) override {
    if (depth_ == 1) {
      name_ = name;
      in_metadata_ = name == "__metadata__";
    } else {
      key_ = name;
    }
    const bool fresh = depth_ == 1    ? names_.insert(name).second
                       : in_metadata_ ? header_.metadata.try_emplace(name).second
                                      : begin_member();
    if (!fresh) damaged(fmt::format("{} comes twice", in_quotes(name)));
    if (header_.metadata.size() > kMaxMetadata)
      damaged(fmt::format("more than {} texts of metadata", kMaxMetadata));
    return true;
  }
  bool string(std::string& text) override {
    if (depth_ == 2 && in_metadata_) return header_.metadata[key_] = text, true;
    if (depth_ == 2 && key_ == "dtype" && list_ == nullptr) return set_type(text), true;
    unexpected("a text");
  }
  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_metadata_ || list_ != nullptr) unexpected("a list");
    list_ = key_ == "shape" ? &shape_ : key_ == "data_offsets" ? &offsets_ : nullptr;
    if (list_ == nullptr) unexpected("a list");
    return true;
  }
  bool end_array() override { return list_ = nullptr, true; }
  bool number_unsigned(std::uint64_t value) override {
    if (list_ == nullptr) unexpected("a number");
    if (list_->size() >= (list_ == &shape_ ? std::size_t{Shape::kMaxAxes} : 2))
      damaged(fmt::format("tensor {}: {} is too long", in_quotes(name_), key_));
    list_->push_back(value);
    return true;
  }
  bool number_integer(std::int64_t) override { unexpected("a number below 0"); }
  bool number_float(double, const std::string&) override { unexpected("a number not whole"); }
  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("true or false"); }
  bool binary(json::binary_t&) override { unexpected("binary data"); }
  bool parse_error(std::size_t at, const std::string&,
                   const nlohmann::detail::exception&) override {
    damaged(fmt::format("no JSON at byte {}", at));
  }

 private:
  [[noreturn]] void damaged(const std::string& what) const {
    fail_input("{}: damaged safetensors header: {}", path_, what);
  }
  [[noreturn]] void bad(const std::string& what) const {
    fail_input("{}: tensor {}: {}", path_, in_quotes(name_), what);
  }
  [[noreturn]] void unexpected(const char* what) const {
    if (depth_ == 0) damaged("no table");
    if (depth_ == 1) damaged(fmt::format("{} for {}", what, in_quotes(name_)));
    damaged(fmt::format("{} for {} of {}", what, in_quotes(key_), in_quotes(name_)));
  }

  void begin_entry() {
    members_ = 0;
    shape_.clear();
    offsets_.clear();
  }
  // False if it was there before.
  bool begin_member() {
    const unsigned bit = key_ == "dtype" ? 1 : key_ == "shape" ? 2 : key_ == "data_offsets" ? 4 : 0;
    if (bit == 0) bad(fmt::format("{} is none of dtype, shape, data_offsets", in_quotes(key_)));
    return (std::exchange(members_, members_ | bit) & bit) == 0;
  }
  void set_type(const std::string& text) {
    for (const ElementFormat& format : element_formats())
      if (text == format.safetensors) {
        type_ = format.type;
        return;
      }
    bad(fmt::format("dtype {} cannot be read", in_quotes(text)));
  }
  void end_entry() {
    if (!is_plain_name(name_))
      fail_input("{}: tensor name {} is not plain ASCII", path_, in_quotes(name_));
    if (members_ != 7 || offsets_.size() != 2) bad("wants dtype, shape and two data_offsets");
    Shape shape;
    std::uint64_t numel = 1;
    for (const std::uint64_t extent : shape_) {
      if (extent > kMaxElements ||
          __builtin_mul_overflow(numel, std::max<std::uint64_t>(extent, 1), &numel) ||
          numel > kMaxElements)
        bad("its shape is absurdly large");
      shape.push_back(static_cast<std::int64_t>(extent));
    }
    const std::uint64_t bytes = static_cast<std::uint64_t>(shape.numel()) * format_of(type_).bytes;
    const std::uint64_t begin = offsets_[0], end = offsets_[1];
    if (begin > end || end - begin != bytes)
      bad(fmt::format("offsets {} to {} do not hold the {} bytes of {}", begin, end, bytes,
                      shape.str()));
    header_.entries.push_back({name_, type_, shape, begin, end});
  }

  const std::string& path_;
  SafeTensorsHeader& header_;
  int depth_ = 0;
  std::set<std::string> names_;
  std::string name_, key_;  // of the table and within it
  bool in_metadata_ = false;
  unsigned members_ = 0;  // of the table, that came so far: a bit each
  ElementType type_ = ElementType::f32;
  std::vector<std::uint64_t> shape_, offsets_;
  std::vector<std::uint64_t>* list_ = nullptr;  // the one that is being read
};

// The tensors must cover the data exactly: no gap, no overlap.
void check_cover(const std::string& path, std::uint64_t data_bytes, std::vector<Entry>& entries) {
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t at = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != at)
      fail_input("{}: tensor {}: begins at byte {}, expected {}", path, in_quotes(entry.name),
                 entry.begin, at);
    at = entry.end;
  }
  if (at != data_bytes)
    fail_input("{}: truncated or damaged: {} bytes of numbers, the header tells of {}", path,
               data_bytes, at);
}

}  // namespace

SafeTensorsHeader read_safetensors_header(const InputFile& file) {
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
  SafeTensorsHeader header;
  header.bytes = 8 + length;
  HeaderParser parser(path, header);
  json::sax_parse(bytes.begin(), bytes.end(), &parser);
  check_cover(path, file.size() - header.bytes, header.entries);
  return header;
}

std::uint32_t SafeTensorsHeader::sum(const std::string& except) const {
  std::uint32_t sum = 0;
  const auto add = [&sum](const std::string& text) {  // its end counts too
    sum = crc32_of(std::string_view(text.c_str(), text.size() + 1), sum);
  };
  for (const auto& [key, value] : metadata)
    if (key != except) add(key), add(value);
  std::vector<std::string> lines;
  for (const Entry& e : entries)
    lines.push_back(fmt::format("{} {} {}", e.name, format_of(e.type).safetensors, e.shape.str()));
  std::sort(lines.begin(), lines.end());
  for (const std::string& line : lines) add(line);
  return sum;
}

std::string SafeTensorsHeader::text() const {
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
  const std::uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + text;
}

}  // namespace nextgrad
