// Signals ask the run to stop where it can be continued.
#pragma once

#include <stdexcept>

namespace nextgrad {

// From now on SIGINT, SIGTERM, SIGUSR1 and SIGHUP (a broken connection; left alone where it is
// ignored, as under nohup) only set a flag. The third SIGINT or SIGTERM ends the process at once:
// the files of a run are whole or absent at any moment.
void install_signal_handlers();
// 0: no; kStop: yes, by a user; kMakeRoom: by SIGTERM or SIGUSR1, as schedulers announce the end.
inline constexpr int kStop = 1, kMakeRoom = 2;
int stop_requested();

// The run is saved and to be continued: the program ends with a code of its own, so that whoever
// started it can tell.
struct Preempted : std::runtime_error {
  static constexpr int kCode = 75;  // EX_TEMPFAIL of sysexits.h
  Preempted() : std::runtime_error("stopped by a signal, and saved") {}
};

}  // namespace nextgrad
