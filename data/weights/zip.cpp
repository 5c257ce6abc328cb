#include "data/weights/zip.h"

#include <zip.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "data/files/text.h"
#include "data/weights/element_type.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

[[noreturn]] void damaged(const std::string& what) {
  fail_input("damaged zip archive: {}; fetch or save the file again", what);
}

// The end record is what a download that stopped lacks. libzip reads the directory of everything
// that looks like one in the last 64 KiB, so there may be few.
void check_end(const InputFile& file) {
  constexpr std::size_t kRecord = 22, kMost = 4;
  if (file.size() < kRecord) damaged("it is too short");
  std::vector<std::uint8_t> bytes(std::min<std::uint64_t>(file.size(), kRecord + 65535));
  file.read(file.size() - bytes.size(), bytes);
  const std::string_view tail(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::size_t records = 0;
  bool ends = false;
  for (std::size_t at = 0; (at = tail.find("PK\5\6", at)) != tail.npos; ++at, ++records)
    ends = ends || (at + kRecord <= tail.size() &&
                    at + kRecord + bytes[at + 20] + bytes[at + 21] * 256u == tail.size());
  if (!ends || records > kMost) damaged("truncated, its directory is missing");
}

zip* open_zip(const InputFile& file) {
  check_end(file);
  int code = 0;
  zip* archive = zip_open(file.path().c_str(), ZIP_RDONLY | ZIP_CHECKCONS, &code);
  if (archive != nullptr) return archive;
  if (code == ZIP_ER_EXISTS) damaged("two entries have one name");
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  const std::string what = zip_error_strerror(&error);
  zip_error_fini(&error);
  damaged(what);
}

using u16 = std::uint16_t;
using u32 = std::uint32_t;

constexpr u32 kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50, kLocalBytes = 30;
constexpr std::uint64_t kMaxDirectory = 64u << 20;
constexpr u16 kVersion = 0, kUtf8 = 1 << 11, kStored = 0, kTime = 0, kDate = 0x21;  // 1980-01-01
constexpr u16 kPadding = 0x4246;  // the extra field that PyTorch pads with, "FB"

}  // namespace

ZipReader::ZipReader(const InputFile& file) : archive_(open_zip(file), &zip_discard) {
  const zip_int64_t n = zip_get_num_entries(archive_.get(), 0);
  std::uint64_t bytes = 0;  // of all entries: libzip lets them lie over each other
  for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(n); ++i) {
    zip_stat_t s{};
    if (zip_stat_index(archive_.get(), i, ZIP_FL_ENC_RAW, &s) != 0)
      damaged(zip_strerror(archive_.get()));
    const std::string name = in_quotes(s.name);
    if (s.encryption_method != ZIP_EM_NONE)
      fail_input("its entry {} is encrypted; save it again without", name);
    if (s.comp_method != ZIP_CM_STORE)
      fail_input(
          "its entry {} is compressed (method {}), PyTorch only stores; save it again with "
          "torch.save",
          name, s.comp_method);
    if (s.size > file.size() - bytes)
      damaged(fmt::format("{} has no room in the file beside the other entries", name));
    bytes += s.size;
    entries_[s.name] = {i, s.size};
  }
}

void ZipReader::read(const std::string& name, std::span<std::uint8_t> into) const {
  const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> entry(
      zip_fopen_index(archive_.get(), entries_.at(name).index, 0), &zip_fclose);
  if (entry == nullptr)
    damaged(fmt::format("{}: {}", in_quotes(name), zip_strerror(archive_.get())));
  // The check sum is compared where libzip meets the end.
  std::uint8_t beyond = 0;
  if (zip_fread(entry.get(), into.data(), into.size()) != static_cast<zip_int64_t>(into.size()) ||
      zip_fread(entry.get(), &beyond, 1) != 0)
    damaged(fmt::format("{} is cut off or its check sum is wrong", in_quotes(name)));
}

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
