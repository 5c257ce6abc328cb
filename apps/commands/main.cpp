// segnext: exit code 0 = done (also when a signal asked to stop), 1 = failure at run time, 2 = bad
// usage or input. Every error is one line on stderr.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>

#include "apps/commands/commands.h"
#include "apps/report/progress.h"
#include "tensor/error.h"
#include "tensor/threads.h"

namespace nextgrad {
namespace {

int complain(int code, const std::string& text) {
  std::fflush(stdout);
  say(stderr, fmt::format("segnext: {}\n", printable(text)));
  return code;
}

// A standard descriptor that is closed would be the number of the next file opened, and messages
// would land in it. Opened the wrong way round, it refuses them instead.
void hold_standard_descriptors() {
  for (int fd = 0; fd <= 2; ++fd)
    if (fcntl(fd, F_GETFD) == -1) (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

}  // namespace
}  // namespace nextgrad

int main(int argc, char** argv) {
  using nextgrad::complain;
  nextgrad::hold_standard_descriptors();
  nextgrad::let_idle_threads_sleep(argv);
  signal(SIGXFSZ, SIG_IGN);  // a file-size limit then is a write error like any other
  signal(SIGPIPE, SIG_IGN);  // and so is a reader who left
  int code = 1;
  try {
    code = nextgrad::run_command_line(argc, argv);
  } catch (const nextgrad::InputError& e) {
    return complain(2, e.what());
  } catch (const std::bad_alloc&) {
    return complain(1, "out of memory; give it smaller pictures, or fewer at a time");
  } catch (const std::exception& e) {
    return complain(1, e.what());
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
    return complain(1, fmt::format("standard output: {}", std::strerror(errno)));
  return code;
}
