// Zip archives as PyTorch writes them: every entry stored, none compressed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "data/files/file.h"

struct zip;

namespace nextgrad {

// Reads an archive by libzip, zip64 too.
class ZipReader {
 public:
  struct Entry {
    std::uint64_t index, size;  // in the archive; at most the file's
  };

  // Throws InputError unless the archive ends the file, its directory and the entries' headers say
  // the same, and the entries are stored as they are, all of them together no longer than the
  // file, no two of one name. Memory is in proportion to the file's bytes.
  explicit ZipReader(const InputFile& file);

  const std::map<std::string, Entry>& entries() const { return entries_; }
  // The bytes of one of entries() into `into`, which has its size. Throws InputError if they are
  // not in the file, or the check sum is wrong.
  void read(const std::string& name, std::span<std::uint8_t> into) const;

 private:
  std::unique_ptr<zip, void (*)(zip*)> archive_;
  std::map<std::string, Entry> entries_;
};

// Writes an archive, atomically. Each entry's bytes begin at a multiple of 64, as PyTorch's do (for
// which libzip has no way), and are written as they come. Throws InputError beyond 4 GB (there it
// would have to be zip64).
class ZipWriter {
 public:
  explicit ZipWriter(std::string path) : path_(path), file_(std::move(path)) {}
  void add(const std::string& name, std::span<const std::uint8_t> bytes);
  void finish();

 private:
  void write(const std::string& bytes);
  std::string path_;
  AtomicFile file_;
  std::uint64_t at_ = 0;
  std::uint64_t entries_ = 0;
  std::string directory_;
};

}  // namespace nextgrad
