// Files: read whole with a limit, written whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nextgrad {

// The bytes of a regular file. Throws InputError if it is missing, unreadable, larger than `limit`
// bytes or refused by what follows.
std::vector<std::uint8_t> read_file(const std::string& path, std::uint64_t limit = 1ull << 32);
// What every reader refuses: by stat's mode a folder, a pipe, a device; by its first bytes the text
// that Git LFS leaves in a file's place.
void refuse_irregular(unsigned mode, const std::string& path);
void refuse_pointer(std::string_view head, const std::string& path);

// A file that appears under its name only when it is whole: written beside it under a temporary
// name, flushed to the disk by commit(), then renamed. Of a link the file that it leads to.
// Destroyed without commit() it leaves what was there before. Throws InputError if it cannot be
// created (no such folder, no permission, a device or pipe of that name) and Error if it cannot be
// written (disk full); both remove the temporary.
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
  [[noreturn]] void give_up(const char* what);
  std::string path_, temporary_;
  int fd_ = -1;
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
