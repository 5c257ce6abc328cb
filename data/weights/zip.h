// Zip archives as PyTorch writes them (PKWARE's APPNOTE.TXT): every entry stored, none compressed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/files/file.h"
#include "data/files/input_file.h"

namespace nextgrad {

struct ZipEntry {
  std::string name;
  std::uint64_t offset, size;  // of its bytes in the file
  std::uint32_t crc;
};

// The entries, in the order of the file. Throws InputError unless the central directory, the local
// headers and the data descriptors say the same, every entry is stored as it is, no two overlap or
// have one name, and the directory ends the file. Reads zip64. Memory is in proportion to the
// directory's bytes in the file.
std::vector<ZipEntry> read_zip_directory(const InputFile& file);

// The entry's bytes into `into`, which has its size. Throws InputError if the check sum is wrong.
void read_zip_entry(const InputFile& file, const ZipEntry& entry, std::span<std::uint8_t> into);

// Writes an archive, atomically. Each entry's bytes begin at a multiple of 64, as PyTorch's do.
// Throws InputError beyond 4 GB (there it would have to be zip64).
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
