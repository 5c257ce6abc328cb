#include "data/files/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "data/files/file.h"
#include "tensor/error.h"

namespace nextgrad {

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) fail_input("{}: cannot read: {}", path_, std::strerror(errno));
  struct stat info {};
  try {
    if (::fstat(fd_, &info) != 0) fail_input("{}: cannot read: {}", path_, std::strerror(errno));
    refuse_irregular(info.st_mode, path_);
    size_ = static_cast<std::uint64_t>(info.st_size);
    refuse_pointer(head(), path_);
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

InputFile::~InputFile() {
  ::close(fd_);
}

void InputFile::read(std::uint64_t offset, std::span<std::uint8_t> into) const {
  if (offset > size_ || into.size() > size_ - offset)
    fail_input("{}: truncated: {} bytes are wanted from byte {}, the file has {}", path_,
               into.size(), offset, size_);
  std::size_t done = 0;
  while (done < into.size()) {
    const ssize_t n =
        ::pread(fd_, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_input("{}: cannot read: {}", path_, std::strerror(errno));
    if (n == 0) fail_input("{}: became shorter while it was read", path_);
    done += static_cast<std::size_t>(n);
  }
}

std::string InputFile::head() const {
  std::vector<std::uint8_t> bytes(std::min<std::uint64_t>(size_, 512));
  read(0, bytes);
  return {bytes.begin(), bytes.end()};
}

}  // namespace nextgrad
