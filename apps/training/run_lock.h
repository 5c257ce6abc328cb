// One process owns the folder of a run: two would mix their states and logs.
#pragma once

#include <string>

namespace nextgrad {

// Holds FOLDER/.lock, which says who does. The system lets go of it when the process ends, however
// it ends.
class RunLock {
 public:
  // Throws InputError that names the process that holds it, or if the folder cannot be written.
  explicit RunLock(const std::string& folder);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  std::string path_;
  int fd_ = -1;
};

}  // namespace nextgrad
