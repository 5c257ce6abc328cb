#include "data/files/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "data/files/text.h"
#include "tensor/error.h"

namespace nextgrad {

namespace fs = std::filesystem;

namespace {

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

// A path to which ".PID.NUMBER.tmp" can be appended: a name has 255 bytes at most.
std::string short_enough(const std::string& path) {
  constexpr std::size_t kMost = 220;
  const std::size_t name = path.rfind('/') + 1;  // 0 without a folder
  return shortened(path, name + kMost);
}

// Where a chain of links leads, so that the file is replaced and not the link.
std::string behind_links(std::string path) {
  for (int links = 0; links < 40; ++links) {
    std::error_code no_link;
    const fs::path target = fs::read_symlink(path, no_link);
    if (no_link) break;
    path = (fs::path(path).parent_path() / target).string();
  }
  return path;
}

// The rename itself must survive a power cut.
void sync_folder_of(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  const Descriptor d{::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY)};
  if (d.fd >= 0) ::fsync(d.fd);
}

}  // namespace

std::vector<std::uint8_t> read_file(const std::string& path, std::uint64_t limit) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) fail_input("{}: cannot read: {}", path, std::strerror(errno));
  struct stat info {};
  if (::fstat(file.fd, &info) != 0) fail_input("{}: cannot read: {}", path, std::strerror(errno));
  refuse_irregular(info.st_mode, path);
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size > limit) fail_input("{}: has {} bytes, at most {} are read", path, size, limit);
  std::vector<std::uint8_t> bytes(size);
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::read(file.fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_input("{}: cannot read: {}", path, std::strerror(errno));
    if (n == 0) fail_input("{}: became shorter while it was read", path);
    done += static_cast<std::size_t>(n);
  }
  refuse_pointer({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
  return bytes;
}

void refuse_irregular(unsigned mode, const std::string& path) {
  if (S_ISDIR(mode)) fail_input("{}: is a folder, not a regular file; name a file in it", path);
  if (!S_ISREG(mode)) fail_input("{}: is not a regular file; give a file on a disk", path);
}

void refuse_pointer(std::string_view head, const std::string& path) {
  if (head.starts_with("version https://git-lfs.github.com/"))
    fail_input("{}: is a Git LFS pointer, not the file itself; fetch it with git lfs pull", path);
}

AtomicFile::AtomicFile(std::string path) : path_(behind_links(std::move(path))) {
  struct stat info {};
  if (::stat(path_.c_str(), &info) == 0)
    refuse_irregular(info.st_mode, path_);
  else if (errno == ELOOP)
    fail_input("{}: is a link to itself; remove it", path_);
  static std::atomic<unsigned> counter{0};
  const std::string stem = short_enough(path_);
  do {
    temporary_ = fmt::format("{}.{}.{}.tmp", stem, ::getpid(), counter++);
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (fd_ < 0 && errno == EEXIST);
  if (fd_ < 0)
    fail_input("{}: cannot write: {}; choose a folder that exists and is writable", path_,
               std::strerror(errno));
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::give_up(const char* what) {
  const int error = errno;
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  ::unlink(temporary_.c_str());
  fail("{}: cannot {}: {}; what was there before is unchanged", path_, what, std::strerror(error));
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  check(fd_ >= 0, "{}: written after it was closed", path_);
  const auto* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::write(fd_, next, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) give_up("write");
    next += n;
    bytes -= static_cast<std::size_t>(n);
  }
}

void AtomicFile::write_at(std::uint64_t offset, const void* data, std::size_t bytes) {
  check(fd_ >= 0, "{}: written after it was closed", path_);
  if (::lseek(fd_, static_cast<off_t>(offset), SEEK_SET) < 0) give_up("write");
  write(data, bytes);
  if (::lseek(fd_, 0, SEEK_END) < 0) give_up("write");
}

void AtomicFile::commit() {
  check(fd_ >= 0, "{}: committed after it was closed", path_);
  if (::fsync(fd_) != 0 && errno != EINVAL) give_up("flush");
  const int closed = ::close(fd_);
  fd_ = -1;
  if (closed != 0) give_up("close");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) give_up("rename the new file into place");
  sync_folder_of(path_);
}

void write_file_atomic(const std::string& path, std::span<const std::uint8_t> bytes) {
  AtomicFile file(path);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

void write_file_atomic(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

}  // namespace nextgrad
