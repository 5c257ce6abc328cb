#include "data/files/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "data/files/text.h"

namespace nextgrad {

namespace fs = std::filesystem;

namespace {

void refuse_irregular(const struct stat& info, const std::string& path) {
  if (S_ISDIR(info.st_mode))
    fail_input("{}: is a folder, not a regular file; name a file in it", path);
  if (!S_ISREG(info.st_mode)) fail_input("{}: is not a regular file; give a file on a disk", path);
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

}  // namespace

std::span<const std::uint8_t> byte_span(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

void fail_in_file(const std::string& path, const InputError& error) {
  if (std::string_view(error.what()).starts_with(path + ": ")) throw InputError(error);
  fail_input("{}: {}", path, error.what());
}

Descriptor::~Descriptor() {
  if (fd >= 0) ::close(fd);
}

bool is_open_as(int fd, const std::string& path) {
  struct stat open {
  }, named{};
  return fstat(fd, &open) == 0 && stat(path.c_str(), &named) == 0 && open.st_ino == named.st_ino &&
         open.st_dev == named.st_dev;
}

void make_folder(const std::string& path, const char* option) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error || !std::filesystem::is_directory(path, error))
    fail_input("{}: cannot be made a folder: {}; choose another {}", path,
               error ? error.message() : "something else has this name", option);
}

InputFile::InputFile(std::string path)
    : path_(std::move(path)), file_(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  struct stat info {};
  if (file_.fd < 0 || ::fstat(file_.fd, &info) != 0)
    fail_input("{}: cannot read: {}", path_, std::strerror(errno));
  refuse_irregular(info, path_);
  size_ = static_cast<std::uint64_t>(info.st_size);
  const auto pointer = byte_span("version https://git-lfs.github.com/");
  std::array<std::uint8_t, 35> first{};
  if (size_ >= first.size()) read(0, first);
  if (std::equal(pointer.begin(), pointer.end(), first.begin(), first.end()))
    fail_input("{}: is a Git LFS pointer, not the file itself; fetch it with git lfs pull", path_);
}

void InputFile::read(std::uint64_t offset, std::span<std::uint8_t> into) const {
  if (offset > size_ || into.size() > size_ - offset)
    fail_input("{}: truncated: {} bytes are wanted from byte {}, the file has {}", path_,
               into.size(), offset, size_);
  while (!into.empty()) {
    const ssize_t n = ::pread(file_.fd, into.data(), into.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_input("{}: cannot read: {}", path_, std::strerror(errno));
    if (n == 0) fail_input("{}: became shorter while it was read", path_);
    into = into.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
}

std::string InputFile::head() const {
  std::vector<std::uint8_t> bytes(std::min<std::uint64_t>(size_, 512));
  read(0, bytes);
  return {bytes.begin(), bytes.end()};
}

std::vector<std::uint8_t> read_file(const std::string& path, std::uint64_t limit) {
  const InputFile file(path);
  if (file.size() > limit)
    fail_input("{}: has {} bytes, at most {} are read", path, file.size(), limit);
  std::vector<std::uint8_t> bytes(file.size());
  file.read(0, bytes);
  return bytes;
}

std::vector<std::uint8_t> read_gzip(const std::string& path, std::uint64_t limit) {
  std::vector<std::uint8_t> packed = read_file(path, limit);
  if (packed.size() < 2 || packed[0] != 0x1f || packed[1] != 0x8b) return packed;
  z_stream stream = {};
  check(inflateInit2(&stream, 16 + MAX_WBITS) == Z_OK, "{}: zlib cannot begin", path);
  std::vector<std::uint8_t> bytes, piece(1 << 20);
  stream.next_in = packed.data();
  stream.avail_in = static_cast<uInt>(packed.size());
  int status = Z_OK;
  while (status == Z_OK && bytes.size() <= limit) {
    stream.next_out = piece.data();
    stream.avail_out = static_cast<uInt>(piece.size());
    status = inflate(&stream, Z_NO_FLUSH);
    bytes.insert(bytes.end(), piece.begin(),
                 piece.end() - static_cast<std::ptrdiff_t>(stream.avail_out));
  }
  inflateEnd(&stream);
  if (bytes.size() > limit) fail_input("{}: more than {} bytes when unpacked", path, limit);
  if (status != Z_STREAM_END) fail_input("{}: damaged or cut short; get it anew", path);
  return bytes;
}

std::uint32_t crc32_of(std::span<const std::uint8_t> bytes, std::uint32_t before) {
  return static_cast<std::uint32_t>(crc32_z(before, bytes.data(), bytes.size()));
}

std::uint32_t crc32_of(std::string_view text, std::uint32_t before) {
  return crc32_of(byte_span(text), before);
}

AtomicFile::AtomicFile(std::string path) : path_(behind_links(std::move(path))) {
  struct stat info {};
  if (::stat(path_.c_str(), &info) == 0)
    refuse_irregular(info, path_);
  else if (errno == ELOOP)
    fail_input("{}: is a link to itself; remove it", path_);
  static std::atomic<unsigned> counter{0};
  // ".PID.NUMBER.tmp" is appended: a name has 255 bytes at most.
  const std::string stem = shortened(path_, path_.rfind('/') + 1 + 220);
  do {
    temporary_ = fmt::format("{}.{}.{}.tmp", stem, ::getpid(), counter++);
    file_.fd = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (file_.fd < 0 && errno == EEXIST);
  if (file_.fd < 0)
    fail_input("{}: cannot write: {}; choose a folder that exists and is writable", path_,
               std::strerror(errno));
}

AtomicFile::~AtomicFile() {
  if (!committed_) ::unlink(temporary_.c_str());
}

void AtomicFile::give_up(const char* what) const {
  fail("{}: cannot {}: {}; what was there before is unchanged", path_, what, std::strerror(errno));
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  write_at(size_, data, bytes);
  size_ += bytes;
}

void AtomicFile::write_at(std::uint64_t offset, const void* data, std::size_t bytes) {
  check(!committed_, "{}: written to after its commit", path_);
  const auto* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::pwrite(file_.fd, next, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) give_up("write");
    next += n;
    offset += static_cast<std::uint64_t>(n);
    bytes -= static_cast<std::size_t>(n);
  }
}

void AtomicFile::commit() {
  check(!committed_, "{}: committed twice", path_);
  if (::fsync(file_.fd) != 0 && errno != EINVAL) give_up("flush");
  if (::close(std::exchange(file_.fd, -1)) != 0) give_up("close");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) give_up("rename the new file into place");
  committed_ = true;
  // The rename itself must survive a power cut.
  const fs::path folder = fs::path(path_).parent_path();
  const Descriptor d(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY));
  if (d.fd >= 0) ::fsync(d.fd);
}

void write_file_atomic(const std::string& path, std::span<const std::uint8_t> bytes) {
  AtomicFile file(path);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

void write_file_atomic(const std::string& path, std::string_view text) {
  write_file_atomic(path, byte_span(text));
}

}  // namespace nextgrad
