#include "data/weights/zip.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <string_view>

#include "data/files/crc32.h"
#include "data/files/text.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

constexpr std::uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50,
                        kEnd64 = 0x06064b50, kLocator64 = 0x07064b50, kDescriptor = 0x08074b50;
constexpr std::uint64_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56,
                        kLocatorBytes = 20;
constexpr std::uint16_t kEncrypted = 1, kHasDescriptor = 8, kZip64Extra = 1;
constexpr std::uint64_t kMaxDirectory = 64u << 20;

[[noreturn]] void damaged(const InputFile& file, const std::string& what) {
  fail_input("{}: damaged zip archive: {}; fetch or save the file again", file.path(), what);
}

// Little-endian numbers one after the other; throws beyond the end.
class Fields {
 public:
  Fields(const InputFile& file, std::span<const std::uint8_t> bytes) : file_(file), bytes_(bytes) {}
  template <class T>
  T take() {
    T value{};
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::span<const std::uint8_t> take(std::uint64_t n) {
    if (n > bytes_.size()) damaged(file_, "a header is cut off");
    const auto part = bytes_.first(n);
    bytes_ = bytes_.subspan(n);
    return part;
  }
  void skip(std::uint64_t n) { take(n); }
  std::string text(std::uint64_t n) {
    const auto part = take(n);
    return {part.begin(), part.end()};
  }
  bool empty() const { return bytes_.empty(); }
  std::uint64_t left() const { return bytes_.size(); }

 private:
  const InputFile& file_;
  std::span<const std::uint8_t> bytes_;
};

struct Directory {
  std::uint64_t offset = 0, size = 0, entries = 0;
  std::uint64_t end = 0;  // where the records after it begin
};

// The numbers of a zip64 archive stand in a record of their own before the old one.
void read_end64(const InputFile& file, std::uint64_t end_at, Directory& directory) {
  std::vector<std::uint8_t> bytes(kEnd64Bytes);
  if (end_at < kLocatorBytes + kEnd64Bytes) return;
  file.read(end_at - kLocatorBytes, std::span(bytes).first(kLocatorBytes));
  Fields locator(file, bytes);
  if (locator.take<std::uint32_t>() != kLocator64) return;
  locator.skip(4);
  const auto at = locator.take<std::uint64_t>();
  if (at > end_at - kLocatorBytes - kEnd64Bytes)
    damaged(file, "a wrong offset of its zip64 record");
  file.read(at, bytes);
  Fields f(file, bytes);
  if (f.take<std::uint32_t>() != kEnd64) damaged(file, "no zip64 record where one should be");
  if (f.take<std::uint64_t>() != end_at - kLocatorBytes - at - 12)
    damaged(file, "a zip64 record of a wrong size");
  f.skip(4);
  if (f.take<std::uint64_t>() != 0) damaged(file, "it is said to have several parts");
  const auto here = f.take<std::uint64_t>();
  directory.entries = f.take<std::uint64_t>();
  if (here != directory.entries) damaged(file, "it is said to have several parts");
  directory.size = f.take<std::uint64_t>();
  directory.offset = f.take<std::uint64_t>();
  directory.end = at;
}

// The last record of the file, perhaps before a comment, tells where the directory is.
Directory find_directory(const InputFile& file) {
  if (file.size() < kEndBytes) damaged(file, "it is too short");
  const std::uint64_t tail = std::min<std::uint64_t>(file.size(), kEndBytes + 65535);
  std::vector<std::uint8_t> bytes(tail);
  file.read(file.size() - tail, bytes);
  for (std::uint64_t comment = 0; comment + kEndBytes <= tail; ++comment) {
    Fields f(file, std::span<const std::uint8_t>(bytes).last(kEndBytes + comment));
    if (f.take<std::uint32_t>() != kEnd) continue;
    const auto parts = f.take<std::uint32_t>();
    const auto here = f.take<std::uint16_t>();
    Directory d;
    d.entries = f.take<std::uint16_t>();
    d.size = f.take<std::uint32_t>();
    d.offset = f.take<std::uint32_t>();
    d.end = file.size() - kEndBytes - comment;
    if (f.take<std::uint16_t>() != comment) continue;
    const std::uint64_t old_entries = d.entries;
    read_end64(file, d.end, d);
    if (d.end == file.size() - kEndBytes - comment && (parts != 0 || here != old_entries))
      damaged(file, "it is said to have several parts");
    if (d.offset > d.end || d.size != d.end - d.offset)
      damaged(file, "its directory is not where it should be");
    if (d.size > kMaxDirectory || d.entries > d.size / kCentralBytes)
      damaged(file, "a directory of an absurd size");
    return d;
  }
  damaged(file, "truncated, its directory is missing");
}

struct Central {
  ZipEntry entry;
  std::uint64_t header;  // of the local one
  std::uint64_t end = 0;
  std::uint16_t flags;
  bool zip64 = false;
};

// Sizes and offset that did not fit into 32 bits, in this order.
void read_zip64_extra(const InputFile& file, std::span<const std::uint8_t> extra,
                      std::initializer_list<std::uint64_t*> values, bool& zip64) {
  Fields fields(file, extra);
  while (fields.left() >= 4) {
    const auto id = fields.take<std::uint16_t>();
    const auto part = fields.take(fields.take<std::uint16_t>());
    if (id != kZip64Extra) continue;
    zip64 = true;
    Fields wide(file, part);
    for (std::uint64_t* value : values)
      if (*value == 0xffffffffu) *value = wide.take<std::uint64_t>();
  }
}

Central read_central(const InputFile& file, Fields& f) {
  if (f.take<std::uint32_t>() != kCentral) damaged(file, "its directory has another entry's place");
  f.skip(4);  // versions
  Central c{};
  c.flags = f.take<std::uint16_t>();
  const auto method = f.take<std::uint16_t>();
  f.skip(4);  // time
  c.entry.crc = f.take<std::uint32_t>();
  std::uint64_t packed = f.take<std::uint32_t>();
  c.entry.size = f.take<std::uint32_t>();
  const auto name = f.take<std::uint16_t>(), extra = f.take<std::uint16_t>(),
             comment = f.take<std::uint16_t>();
  const auto part = f.take<std::uint16_t>();
  f.skip(6);  // attributes
  c.header = f.take<std::uint32_t>();
  c.entry.name = f.text(name);
  read_zip64_extra(file, f.take(extra), {&c.entry.size, &packed, &c.header}, c.zip64);
  f.skip(comment);
  if (part != 0) damaged(file, "it is said to have several parts");
  if ((c.flags & kEncrypted) != 0)
    fail_input("{}: its entry {} is encrypted; save it again without", file.path(),
               in_quotes(c.entry.name));
  if (method != 0)
    fail_input(
        "{}: its entry {} is compressed (method {}), PyTorch only stores; save it again "
        "with torch.save",
        file.path(), in_quotes(c.entry.name), method);
  if (packed != c.entry.size)
    damaged(file, fmt::format("two sizes of {}", in_quotes(c.entry.name)));
  return c;
}

// What follows the bytes of an entry whose local header was written before they were known.
std::uint64_t descriptor_bytes(const InputFile& file, const Central& c, std::uint64_t at,
                               std::uint64_t limit) {
  std::uint8_t bytes[24] = {};
  const std::uint64_t n = std::min<std::uint64_t>(sizeof(bytes), limit - at);
  file.read(at, std::span(bytes).first(n));
  const auto field = [&]<class T>(T, std::uint64_t offset) {
    T value{};
    std::memcpy(&value, bytes + offset, sizeof(T));
    return value;
  };
  std::uint64_t i = n >= 4 && field(std::uint32_t{}, 0) == kDescriptor ? 4 : 0;
  const bool crc = n >= i + 4 && field(std::uint32_t{}, i) == c.entry.crc;
  i += 4;
  if (crc && n >= i + 16 && field(std::uint64_t{}, i) == c.entry.size &&
      field(std::uint64_t{}, i + 8) == c.entry.size)
    return i + 16;
  if (crc && n >= i + 8 && field(std::uint32_t{}, i) == c.entry.size &&
      field(std::uint32_t{}, i + 4) == c.entry.size)
    return i + 8;
  damaged(file, fmt::format("a wrong data descriptor of {}", in_quotes(c.entry.name)));
}

// Checks the local header against the directory; sets where the bytes lie and where all of it ends.
void read_local(const InputFile& file, std::uint64_t limit, Central& c) {
  const auto name = in_quotes(c.entry.name);
  const auto wrong = [&] { damaged(file, fmt::format("a wrong local header of {}", name)); };
  if (c.header > limit || limit - c.header < kLocalBytes) wrong();
  std::vector<std::uint8_t> bytes(kLocalBytes);
  file.read(c.header, bytes);
  Fields f(file, bytes);
  if (f.take<std::uint32_t>() != kLocal) wrong();
  f.skip(2);
  const auto flags = f.take<std::uint16_t>();
  const auto method = f.take<std::uint16_t>();
  f.skip(4);
  const auto crc = f.take<std::uint32_t>();
  std::uint64_t packed = f.take<std::uint32_t>(), size = f.take<std::uint32_t>();
  const auto name_bytes = f.take<std::uint16_t>(), extra_bytes = f.take<std::uint16_t>();
  std::vector<std::uint8_t> rest(std::size_t{name_bytes} + extra_bytes);
  if (limit - c.header - kLocalBytes < rest.size()) wrong();
  file.read(c.header + kLocalBytes, rest);
  Fields names(file, rest);
  if (names.text(name_bytes) != c.entry.name || flags != c.flags || method != 0) wrong();
  bool zip64 = false;
  read_zip64_extra(file, names.take(extra_bytes), {&size, &packed}, zip64);
  const bool later = (flags & kHasDescriptor) != 0 && crc == 0 && size == 0 && packed == 0;
  if (!later && (crc != c.entry.crc || size != c.entry.size || packed != c.entry.size)) wrong();
  c.entry.offset = c.header + kLocalBytes + rest.size();
  if (c.entry.size > limit - c.entry.offset)
    damaged(file, fmt::format("{} is longer than the file", name));
  c.end = c.entry.offset + c.entry.size;
  if ((flags & kHasDescriptor) != 0) c.end += descriptor_bytes(file, c, c.end, limit);
}

}  // namespace

std::vector<ZipEntry> read_zip_directory(const InputFile& file) {
  const Directory directory = find_directory(file);
  std::vector<std::uint8_t> bytes(directory.size);
  file.read(directory.offset, bytes);
  Fields fields(file, bytes);
  std::vector<Central> all;
  std::set<std::string> names;
  for (std::uint64_t i = 0; i < directory.entries; ++i) {
    all.push_back(read_central(file, fields));
    if (!names.insert(all.back().entry.name).second)
      damaged(file, fmt::format("two entries are called {}", in_quotes(all.back().entry.name)));
  }
  if (!fields.empty()) damaged(file, "its directory holds more than its entries");
  for (Central& c : all) read_local(file, directory.offset, c);
  std::sort(all.begin(), all.end(),
            [](const Central& a, const Central& b) { return a.header < b.header; });
  std::vector<ZipEntry> entries;
  std::uint64_t end = 0;
  for (Central& c : all) {
    if (c.header < end)
      damaged(file, fmt::format("{} overlaps another entry", in_quotes(c.entry.name)));
    end = c.end;
    entries.push_back(std::move(c.entry));
  }
  return entries;
}

void read_zip_entry(const InputFile& file, const ZipEntry& entry, std::span<std::uint8_t> into) {
  file.read(entry.offset, into);
  if (crc32_of(into) != entry.crc)
    damaged(file, fmt::format("the check sum of {} is wrong", in_quotes(entry.name)));
}

namespace {

template <class... Ts>
std::string little_endian(Ts... values) {
  std::string bytes;
  (bytes.append(reinterpret_cast<const char*>(&values), sizeof(values)), ...);
  return bytes;
}

using u16 = std::uint16_t;
using u32 = std::uint32_t;

constexpr u16 kVersion = 0, kUtf8 = 1 << 11, kStored = 0, kTime = 0, kDate = 0x21;  // 1980-01-01
constexpr u16 kPadding = 0x4246;  // the extra field that PyTorch pads with, "FB"

}  // namespace

void ZipWriter::write(const std::string& bytes) {
  file_.write(bytes.data(), bytes.size());
  at_ += bytes.size();
}

void ZipWriter::add(const std::string& name, std::span<const std::uint8_t> bytes) {
  const std::uint64_t header = at_ + kLocalBytes + name.size() + 4;
  const std::uint64_t padding = (64 - header % 64) % 64;
  if (header + padding + bytes.size() > 0xffffffffu - kMaxDirectory || entries_ >= 0xffff)
    fail_input("{}: would be larger than 4 GB; write a .safetensors file or a smaller --dtype",
               path_);
  const u32 crc = crc32_of(bytes), size = static_cast<u32>(bytes.size());
  const auto name_size = static_cast<u16>(name.size());
  directory_ +=
      little_endian(kCentral, kVersion, kVersion, kUtf8, kStored, kTime, kDate, crc, size, size,
                    name_size, u16{0}, u16{0}, u16{0}, u16{0}, u32{0}, static_cast<u32>(at_)) +
      name;
  write(little_endian(kLocal, kVersion, kUtf8, kStored, kTime, kDate, crc, size, size, name_size,
                      static_cast<u16>(padding + 4)) +
        name + little_endian(kPadding, static_cast<u16>(padding)) + std::string(padding, 'Z'));
  file_.write(bytes.data(), bytes.size());
  at_ += bytes.size();
  ++entries_;
}

void ZipWriter::finish() {
  const auto offset = static_cast<u32>(at_), size = static_cast<u32>(directory_.size());
  const auto entries = static_cast<u16>(entries_);
  write(directory_ + little_endian(kEnd, u16{0}, u16{0}, entries, entries, size, offset, u16{0}));
  file_.commit();
}

}  // namespace nextgrad
