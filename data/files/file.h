// Files: read in pieces or whole with a limit, written whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/error.h"

namespace nextgrad {

// Throws an InputError that begins with the file's name: `error`, with the name put before it if it
// has none.
[[noreturn]] void fail_in_file(const std::string& path, const InputError& error);
// What `read` gives. So the name of the file need not be known to what reads its parts.
template <class Read>
auto in_file(const std::string& path, Read&& read) {
  try {
    return read();
  } catch (const InputError& error) {
    fail_in_file(path, error);
  }
}

// The number of an open file, or -1; closed at the end.
struct Descriptor {
  int fd = -1;
  explicit Descriptor(int number = -1) : fd(number) {}
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
};

// Whether a path leads to the file that is open as `fd`.
bool is_open_as(int fd, const std::string& path);

// Makes a folder, and those around it; throws InputError naming the option that asked for it.
void make_folder(const std::string& path, const char* option);

// A file read in pieces, wherever they lie.
class InputFile {
 public:
  // Throws InputError if it is missing, unreadable, not a regular file, or the text that Git LFS
  // leaves in a file's place.
  explicit InputFile(std::string path);

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }  // when it was opened
  // Fills `into` from byte `offset`. Throws InputError if the file ends before.
  void read(std::uint64_t offset, std::span<std::uint8_t> into) const;
  // The first bytes, enough to tell formats apart; fewer if the file is shorter.
  std::string head() const;

 private:
  std::string path_;
  Descriptor file_;
  std::uint64_t size_ = 0;
};

// The bytes of a regular file. Throws InputError as InputFile does, and if it is larger than
// `limit` bytes.
std::vector<std::uint8_t> read_file(const std::string& path, std::uint64_t limit = 1ull << 32);
inline std::string read_text(const std::string& path, std::uint64_t limit = 1ull << 32) {
  const auto bytes = read_file(path, limit);
  return {bytes.begin(), bytes.end()};
}
// The same, unpacked if the file is one of gzip. Throws InputError also for a damaged one and for
// more than `limit` bytes unpacked.
std::vector<std::uint8_t> read_gzip(const std::string& path, std::uint64_t limit);

std::span<const std::uint8_t> byte_span(std::string_view text);  // of the same bytes

// The check sum of our files: zlib's CRC-32. `before`: of the bytes that come before these.
std::uint32_t crc32_of(std::span<const std::uint8_t> bytes, std::uint32_t before = 0);
std::uint32_t crc32_of(std::string_view text, std::uint32_t before = 0);

// A file that appears under its name only when it is whole: written beside it under a temporary
// name, flushed to the disk by commit(), then renamed. Of a link the file that it leads to.
// Destroyed without commit() it leaves what was there before, and no temporary. Throws InputError
// if it cannot be created (no such folder, no permission, a device or pipe of that name) and Error
// if it cannot be written (disk full).
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(const void* data, std::size_t bytes);
  // Over what was written from byte `offset` on.
  void write_at(std::uint64_t offset, const void* data, std::size_t bytes);
  void commit();

 private:
  [[noreturn]] void give_up(const char* what) const;
  std::string path_, temporary_;
  Descriptor file_;
  std::uint64_t size_ = 0;
  bool committed_ = false;
};

// AtomicFile in one call.
void write_file_atomic(const std::string& path, std::span<const std::uint8_t> bytes);
void write_file_atomic(const std::string& path, std::string_view text);

// Paths of the files of a folder whose names end in one of `suffixes` (any if empty; case does not
// count), sorted by name; not of its sub-folders. Hidden files (.DS_Store, ._a.jpg) are left out.
// Throws InputError if there is no such folder, and for a link that leads nowhere.
std::vector<std::string> list_files(const std::string& folder,
                                    const std::vector<std::string>& suffixes = {});
// The same of the folder and all beneath it, as paths relative to it, sorted by their bytes. Links
// are followed; hidden folders and those in `except` are passed over. Throws InputError also for a
// link back to a folder around it and for a sub-folder that cannot be read.
std::vector<std::string> list_tree(const std::string& folder,
                                   const std::vector<std::string>& suffixes = {},
                                   const std::vector<std::string>& except = {});

}  // namespace nextgrad
