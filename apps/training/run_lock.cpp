#include "apps/training/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>

#include "apps/report/progress.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

// "process 4711 on host, since 2026-11-28 14:03:12"
std::string this_process() {
  char host[256] = "?", since[32] = "?";
  gethostname(host, sizeof host - 1);
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  if (localtime_r(&now, &local) != nullptr)
    std::strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S", &local);
  return fmt::format("process {} on {}, since {}", getpid(), host, since);
}

// Whether `fd` still is the file of that name: its holder removes it when it is done.
bool is_at(int fd, const std::string& path) {
  struct stat held {
  }, named{};
  return fstat(fd, &held) == 0 && stat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino &&
         held.st_dev == named.st_dev;
}

std::string holder(int fd) {
  char text[400];
  const ssize_t n = pread(fd, text, sizeof text, 0);
  return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : "another process";
}

}  // namespace

RunLock::RunLock(const std::string& folder) : path_(folder + "/.lock") {
  do {
    if (fd_ >= 0) close(fd_);
    fd_ = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (fd_ < 0)
      fail_input("{}: cannot write: {}; a run needs a folder that it may write", path_,
                 std::strerror(errno));
    if (flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      const std::string who = holder(fd_);
      close(fd_);
      if (error == EWOULDBLOCK)
        fail_input("{}: in use by {}; wait for it, stop it, or use another --out", folder, who);
      fail_input("{}: cannot be locked: {}; use a folder of another file system", path_,
                 std::strerror(error));
    }
  } while (!is_at(fd_, path_));
  const std::string who = this_process();
  if (ftruncate(fd_, 0) != 0 || pwrite(fd_, who.data(), who.size(), 0) < 0)
    say(stderr, fmt::format("{}: cannot say who holds it: {}\n", path_, std::strerror(errno)));
}

RunLock::~RunLock() {
  unlink(path_.c_str());
  close(fd_);
}

}  // namespace nextgrad
