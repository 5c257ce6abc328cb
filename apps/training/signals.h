// SIGINT, SIGTERM and SIGHUP ask the run to stop where it can be continued.
#pragma once

namespace nextgrad {

// From now on SIGINT, SIGTERM and SIGHUP (a broken connection; left alone where it is ignored, as
// under nohup) only set a flag. The third SIGINT or SIGTERM ends the process at once: the files of
// a run are whole or absent at any moment.
void install_signal_handlers();
bool stop_requested();

}  // namespace nextgrad
