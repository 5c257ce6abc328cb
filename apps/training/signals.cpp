#include "apps/training/signals.h"

#include <signal.h>
#include <unistd.h>

namespace nextgrad {
namespace {

volatile sig_atomic_t requests = 0, how = 0;

void on_signal(int signal) {
  const int asks = signal == SIGTERM || signal == SIGUSR1 ? kMakeRoom : kStop;
  if (asks > how) how = asks;
  if (signal == SIGHUP || signal == SIGUSR1) return;
  requests = requests + 1;
  if (requests >= 3) _exit(130);
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGUSR1, &action, nullptr);
  struct sigaction former = {};
  if (sigaction(SIGHUP, nullptr, &former) == 0 && former.sa_handler != SIG_IGN)
    sigaction(SIGHUP, &action, nullptr);
}

int stop_requested() {
  return how;
}

}  // namespace nextgrad
