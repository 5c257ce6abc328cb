#include "apps/training/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <system_error>

#include "apps/report/progress.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

namespace fs = std::filesystem;

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

std::string holder(int fd) {
  char text[400];
  const ssize_t n = pread(fd, text, sizeof text, 0);
  return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : "another process";
}

std::vector<std::string> files_of(const RunFolder& run) {
  return {run.config(), run.log(), run.state(), run.last(), run.best(), run.report()};
}

void refuse_former_run(const RunFolder& run) {
  std::error_code error;
  for (const auto& file : files_of(run))
    if (fs::exists(file, error))
      fail_input("{}: a run is there already; add --overwrite, use another --out, or --resume {}",
                 file, run.path.string());
}

// What a killed process left half-written.
void remove_leftovers(const RunFolder& run) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(run.path, error)) {
    const std::string name = entry.path().filename().string();
    const bool ours = name.find(".safetensors.") != std::string::npos ||
                      name.rfind("log.jsonl.", 0) == 0 || name.rfind("report.html.", 0) == 0;
    if (ours && name.ends_with(".tmp")) fs::remove(entry.path(), error);
  }
}

std::map<std::string, std::string> texts_of(const Settings& settings) {
  std::map<std::string, std::string> texts;
  for (const auto& s : settings) texts[s.key] = s.str();
  return texts;
}

}  // namespace

RunLock::RunLock(const std::string& folder) : path_(folder + "/.lock") {
  do {
    file_ = std::make_unique<Descriptor>(
        open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666));
    if (file_->fd < 0)
      fail_input("{}: cannot write: {}; a run needs a folder that it may write", path_,
                 std::strerror(errno));
    if (flock(file_->fd, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      const std::string who = holder(file_->fd);
      if (error == EWOULDBLOCK)
        fail_input("{}: in use by {}; wait for it, stop it, or use another --out", folder, who);
      fail_input("{}: cannot be locked: {}; use a folder of another file system", path_,
                 std::strerror(error));
    }
  } while (!is_open_as(file_->fd, path_));  // its holder removes it when it is done
  const std::string who = this_process();
  if (ftruncate(file_->fd, 0) != 0 || pwrite(file_->fd, who.data(), who.size(), 0) < 0)
    say(stderr, fmt::format("{}: cannot say who holds it: {}\n", path_, std::strerror(errno)));
}

RunLock::~RunLock() {
  unlink(path_.c_str());
}

std::string RunFolder::resume_command(const std::string& command) const {
  std::string quoted;
  for (const char c : path.string()) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return fmt::format("{} --resume '{}'", command, quoted);
}

std::optional<TrainState> RunArguments::open() {
  if (!resuming()) return std::nullopt;
  const RunFolder run = folder();
  if (!fs::exists(run.config()) && !fs::exists(run.state()))
    fail_input("{}: no such file, so nothing to resume; start a run with --out {}", run.config(),
               run.path.string());
  lock_ = std::make_unique<RunLock>(run.path.string());
  if (fs::exists(run.state())) {
    TrainState state = load_train_state(run.state());
    if (!state.summed)
      fail_input(
          "{}: has no check sums, which every state of this version has; put back what the "
          "run wrote, or start a new run with --pretrained {}",
          run.state(), run.last());
    return state;
  }
  for (const auto& weights : {run.last(), run.best()})
    if (fs::exists(weights))
      fail_input(
          "{}: is missing, so {} cannot be trained on as it was; put it back, or start a "
          "new run with --pretrained {}",
          run.state(), weights, weights);
  return std::nullopt;
}

void RunArguments::read(Settings settings, const std::map<std::string, std::string>& given,
                        const std::optional<TrainState>& state) const {
  if (resuming()) return read_resumed(settings, given, state);
  if (!config.empty()) load_config(config, settings);
  apply_options(given, settings);
}

// The state has the settings it was trained with; config.toml is what a user sees and may have
// edited, lost in part, or copied from another run.
void RunArguments::read_resumed(Settings settings, const std::map<std::string, std::string>& given,
                                const std::optional<TrainState>& state) const {
  const RunFolder run = folder();
  std::set<std::string> wanted;
  for (const auto& s : settings) wanted.insert(s.key);
  if (state) wanted = load_config_text(state->config, run.state(), settings);
  auto kept = texts_of(settings);
  const bool lost = state && !fs::exists(run.config());
  if (lost) say(stdout, run.config() + ": is missing; written again from the run's state\n");
  const auto present = lost ? wanted : load_config(run.config(), settings);
  for (const auto& key : wanted)
    if (!present.contains(key))
      fail_input("{}: {} is missing: the file was cut or edited; {}", run.config(), key,
                 state ? fmt::format("put back {} = {}", key, kept[key])
                       : "put it back, or start anew with --out and --overwrite");
  const auto before = texts_of(settings);
  if (!state) kept = before;
  for (const auto& s : settings)
    if (!s.resumable && s.str() != kept[s.key])
      fail_input("{}: {} is {}, but the run in {} has {}; put that back", run.config(), s.key,
                 s.str(), run.state(), kept[s.key]);
  apply_options(given, settings);
  for (const auto& s : settings) {
    if (!s.resumable && s.str() != before.at(s.key))
      fail_input("--{}: cannot change in a resumed run (it is {}); leave it out or start a new run",
                 s.key, before.at(s.key));
    if (s.str() != kept[s.key])
      say(stdout,
          printable(fmt::format("{}: {} from now on, {} before", s.key, s.str(), kept[s.key])) +
              "\n");
  }
}

void RunArguments::begin(const std::string& config_text) {
  const RunFolder run = folder();
  if (resuming()) {
    remove_leftovers(run);
  } else {
    if (!overwrite) refuse_former_run(run);
    make_folder(run.path, "--out");
    lock_ = std::make_unique<RunLock>(run.path.string());
    if (!overwrite) refuse_former_run(run);  // somebody was faster
    // Tells whether one can write here before anything is removed.
    const AtomicFile probe(run.config());
    std::error_code ignored;
    for (const auto& file : files_of(run)) fs::remove(file, ignored);
  }
  write_file_atomic(run.config(), config_text);
}

// A stop is no failure: it says how to go on.
void RunArguments::end(bool complete, const std::string& command) const {
  const RunFolder run = folder();
  const std::string line =
      complete ? fmt::format("done: {} and {}", fs::exists(run.best()) ? run.best() : run.last(),
                             run.report())
               : fmt::format("stopped and saved; go on with: {}", run.resume_command(command));
  say(stdout, printable(line) + "\n");
}

void make_absolute(std::string& path) {
  if (!path.empty()) path = fs::absolute(path).lexically_normal().string();
}

}  // namespace nextgrad
