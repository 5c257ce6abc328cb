// Runs the binary in a folder of its own.
#pragma once

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

namespace nextgrad {

namespace fs = std::filesystem;

// An empty folder that vanishes with its owner.
struct TemporaryFolder {
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "segnext-test-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string operator/(const std::string& name) const { return (path / name).string(); }
  fs::path path;
};

inline std::string slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline void spill(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

struct Outcome {
  int code = -1;  // 1000 + n: died by signal n
  std::string out, err;
};

// segnext ARGUMENTS (read by the shell, in `folder`); `before` is put before the command.
inline Outcome segnext(const TemporaryFolder& folder, const std::string& arguments,
                       const std::string& before = "",
                       const std::string& program = "'" SEGNEXT_BINARY "'") {
  const std::string command =
      fmt::format("cd '{}' && {} {} {} >stdout.txt 2>stderr.txt </dev/null", folder.path.string(),
                  before, program, arguments);
  const int status = std::system(command.c_str());
  Outcome o;
  o.code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  o.out = slurp(folder / "stdout.txt");
  o.err = slurp(folder / "stderr.txt");
  return o;
}

// A run in the background that can be sent signals.
class Background {
 public:
  Background(const TemporaryFolder& folder, const std::string& arguments,
             const std::string& before = "") {
    pid_ = fork();
    if (pid_ == 0) {
      const std::string command =
          fmt::format("cd '{}' && exec {} '{}' {} >background.txt 2>&1 </dev/null",
                      folder.path.string(), before, SEGNEXT_BINARY, arguments);
      execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      _exit(127);
    }
  }
  pid_t id() const { return pid_; }
  void send(int signal) const { kill(pid_, signal); }
  // Exit code, or 1000 + the signal that ended it.
  int wait() const {
    int status = 0;
    waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

 private:
  pid_t pid_;
};

// Waits until `condition` holds, at most a minute.
template <class Condition>
bool eventually(Condition&& condition) {
  for (int i = 0; i < 6000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

inline std::size_t lines_of(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace nextgrad
