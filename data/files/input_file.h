// A file read in pieces, wherever they lie.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace nextgrad {

class InputFile {
 public:
  // Throws InputError if it is missing, unreadable or not a regular file.
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }  // when it was opened
  // Fills `into` from byte `offset`. Throws InputError if the file ends before.
  void read(std::uint64_t offset, std::span<std::uint8_t> into) const;
  // The first bytes, enough to tell formats apart; fewer if the file is shorter.
  std::string head() const;

 private:
  std::string path_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
};

}  // namespace nextgrad
