// segnext: exit code 0 = done (also when Ctrl-C asked to stop), 1 = failure at run time, 2 = bad
// usage or input, 75 = a training that SIGTERM or SIGUSR1 stopped is saved and wants to go on.
// Every error is one line on stderr; of several processes, root's.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <string>

#include "apps/commands/commands.h"
#include "apps/report/progress.h"
#include "apps/training/signals.h"
#include "tensor/communicator.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

// How the program ends.
struct Outcome {
  int code = 0;
  std::string text;  // of an error
  bool of_peer = false;
};

Outcome run(int argc, char** argv) {
  try {
    return {run_command_line(argc, argv), {}};
  } catch (const Preempted&) {
    return {Preempted::kCode, {}};
  } catch (const PeerFailure& e) {
    return {e.code(), e.what(), true};
  } catch (const InputError& e) {
    return {2, e.what()};
  } catch (const std::bad_alloc&) {
    return {1, "out of memory; give it smaller pictures, or fewer at a time"};
  } catch (const std::exception& e) {
    return {1, e.what()};
  }
}

Outcome flushed(Outcome outcome) {
  const bool good = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (good || outcome.code != 0) return outcome;
  return {1, fmt::format("standard output: {}", std::strerror(errno))};
}

// With all ranks: one of them tells of an error.
int end(Communicator& everyone, Outcome outcome) {
  const bool good = outcome.code == 0 || outcome.code == Preempted::kCode;
  if (good) try {
      everyone.finish(outcome.code);
      return outcome.code;
    } catch (const PeerFailure& e) {
      outcome = {e.code(), e.what(), true};
    }
  const bool tell = everyone.report_failure(outcome.code, outcome.text);
  if (!outcome.of_peer && everyone.size() > 1)
    outcome.text = fmt::format("rank {} of {}: {}", everyone.rank(), everyone.size(), outcome.text);
  if (tell) say(stderr, fmt::format("segnext: {}\n", printable(outcome.text)));
  everyone.leave(outcome.code);
  return outcome.code;
}

// A standard descriptor that is closed would be the number of the next file opened, and messages
// would land in it. Opened the wrong way round, it refuses them instead.
void hold_standard_descriptors() {
  for (int fd = 0; fd <= 2; ++fd)
    if (fcntl(fd, F_GETFD) == -1) (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

// What is printed on this process's standard output is what root prints on its own.
void only_root_talks() {
  const int nowhere = open("/dev/null", O_WRONLY);
  if (nowhere >= 0) dup2(nowhere, STDOUT_FILENO);
}

}  // namespace
}  // namespace nextgrad

int main(int argc, char** argv) {
  using namespace nextgrad;
  hold_standard_descriptors();
  signal(SIGXFSZ, SIG_IGN);  // a file-size limit then is a write error like any other
  signal(SIGPIPE, SIG_IGN);  // and so is a reader who left
  Alone alone;
  try {
    Communicator& everyone = world();
    if (!everyone.is_root()) only_root_talks();
    return end(everyone, flushed(run(argc, argv)));
  } catch (const InputError& e) {
    return end(alone, {2, e.what()});
  }
}
