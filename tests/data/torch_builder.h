// Checkpoint files made by hand, well or ill.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/weights/element_type.h"
#include "data/weights/zip.h"
#include "tests/data/support.h"

namespace nextgrad::testing {

// Opcodes of a pickle, each function one object or action. Letters as in Lib/pickletools.py.
namespace pk {
inline std::string text(std::string_view t) {
  return "X" + little_endian(static_cast<std::uint32_t>(t.size())) + std::string(t);
}
inline std::string number(std::int32_t n) {
  return "J" + little_endian(n);
}
inline std::string big(std::int64_t n) {
  return "\x8a\x08" + little_endian(n);
}
inline std::string global(std::string_view module, std::string_view name) {
  return "c" + std::string(module) + "\n" + std::string(name) + "\n";
}
inline std::string tuple(const std::vector<std::string>& items) {
  std::string all = "(";
  for (const auto& item : items) all += item;
  return all + "t";
}
inline std::string numbers(const std::vector<std::int64_t>& values) {
  std::string all = "(";
  for (const auto v : values) all += big(v);
  return all + "t";
}
inline std::string call(const std::string& callee, const std::string& arguments) {
  return callee + arguments + "R";
}
inline std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string all = "}(";
  for (const auto& [key, value] : items) all += text(key) + value;
  return all + "u";
}
inline std::string storage(const std::string& type, const std::string& key, std::int64_t numel) {
  return tuple({text("storage"), global("torch", type), text(key), text("cpu"), big(numel)}) + "Q";
}
inline std::string tensor(const std::string& storage, std::int64_t offset,
                          const std::vector<std::int64_t>& size,
                          const std::vector<std::int64_t>& stride) {
  return call(global("torch._utils", "_rebuild_tensor_v2"),
              tuple({storage, big(offset), numbers(size), numbers(stride), "\x89",
                     call(global("collections", "OrderedDict"), ")")}));
}
// os.system("touch pwned")
inline std::string evil() {
  return call(global("os", "system"), tuple({text("touch pwned")}));
}
inline std::string whole(const std::string& object) {
  return "\x80\x02" + object + ".";
}
}  // namespace pk

using Parts = std::vector<std::pair<std::string, std::string>>;  // names and bytes

// A zip archive of these entries, right in itself.
inline void write_zip(const std::string& path, const Parts& entries) {
  ZipWriter zip(path);
  for (const auto& [name, bytes] : entries)
    zip.add(name, std::span(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()));
  zip.finish();
}

// A .pth of one pickled object and storages by key.
inline void write_pth(const std::string& path, const std::string& object,
                      const Parts& storages = {}) {
  Parts entries{{"x/data.pkl", pk::whole(object)}, {"x/byteorder", "little"}};
  for (const auto& [key, bytes] : storages) entries.push_back({"x/data/" + key, bytes});
  entries.push_back({"x/version", "3\n"});
  write_zip(path, entries);
}

inline std::string floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

}  // namespace nextgrad::testing
