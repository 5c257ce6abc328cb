// SIGINT and SIGTERM ask the run to stop where it can be continued.
#pragma once

namespace nextgrad {

// From now on SIGINT and SIGTERM only set a flag (the third one ends the process at once: the files
// of a run are whole or absent at any moment).
void install_signal_handlers();
bool stop_requested();

}  // namespace nextgrad
