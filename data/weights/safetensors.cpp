#include "data/weights/safetensors.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "data/files/file.h"
#include "data/files/text.h"
#include "data/weights/safetensors_header.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

using nlohmann::json;

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

void set_sums(SafeTensorsHeader& header, const std::vector<std::uint32_t>& sums) {
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
std::optional<std::map<std::string, std::string>> take_sums(SafeTensorsHeader& header) {
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
  SafeTensorsHeader header;
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

SafeTensors read_safetensors(const std::string& path) {
  return in_file(path, [&] {
    const InputFile file(path);
    SafeTensorsHeader header = read_safetensors_header(file);
    const auto sums = take_sums(header);
    SafeTensors result{.metadata = std::move(header.metadata), .summed = sums.has_value()};
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
