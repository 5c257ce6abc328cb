#include "apps/training/phases.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "apps/inference/checkpoint.h"
#include "apps/report/progress.h"
#include "apps/training/state_of_root.h"
#include "apps/training/trainer.h"
#include "data/files/file.h"

namespace nextgrad {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<TrainTask> task_of(const TrainConfig& c, bool has_state, Communicator& everyone) {
  return segmentation_task(c, has_state, everyone);
}
std::unique_ptr<TrainTask> task_of(const PretrainConfig& c, bool has_state,
                                   Communicator& everyone) {
  return classification_task(c, has_state, everyone);
}

// The folder of a data set in "KIND=FOLDER,KIND=FOLDER"; without "=" all of it.
std::string root_of(const std::string& roots, const std::string& phase, const std::string& kind) {
  if (roots.find('=') == std::string::npos) return roots;
  for (std::size_t at = 0; at < roots.size();) {
    const std::size_t comma = std::min(roots.find(',', at), roots.size());
    const std::string part = roots.substr(at, comma - at);
    const std::size_t equals = part.find('=');
    const std::string name = part.substr(0, equals);
    if (equals != std::string::npos && (name == phase || name == kind))
      return part.substr(equals + 1);
    at = comma + 1;
  }
  return {};
}

// Sets the options of a phase, and looks whether it could begin: what its data lacks is said before
// the phases that come first have taken days.
template <class Config>
void take_options(Config& config, const std::string& phase, bool first,
                  const std::map<std::string, std::string>& given) {
  std::map<std::string, std::string> own = given;
  if (!first) own.erase("pretrained");  // the others begin with what came before them
  if (const auto roots = own.find("data-root"); roots != own.end()) {
    roots->second = root_of(roots->second, phase, config.data);
    if (roots->second.empty()) own.erase(roots);
  }
  apply_options(own, settings_of(config));
  make_absolute(config.data_root);
  make_absolute(config.pretrained);
  try {
    model_config(config, 1);
    for (const char* split : {"train", "val"}) open_split(config, split);
  } catch (const InputError& e) {
    fail_input("phase {}: {}; folders of several are given as --data-root KIND=DIR,KIND=DIR", phase,
               e.what());
  }
}

void check_options(const RunArguments& run, const std::map<std::string, std::string>& given) {
  if (given.contains("data"))
    fail_input("--data: each phase has its own; give their folders: --data-root KIND=DIR,KIND=DIR");
  TrainConfig train;
  PretrainConfig pretrain;
  if (!run.resuming()) return;
  for (const Settings& settings : {settings_of(train), settings_of(pretrain)})
    for (const Setting& s : settings)
      if (!s.resumable && given.contains(s.key))
        fail_input("--{}: cannot change in a resumed run; leave it out or start a new one", s.key);
}

bool is_complete(const RunFolder& folder) {
  if (!fs::exists(folder.state())) return false;
  const TrainState state = load_train_state(folder.state());
  const auto is = [&](const char* key) {
    const auto found = state.extra.find(key);
    return found != state.extra.end() && found->second == std::to_string(state.iteration);
  };
  return is("iterations") && is("validated");
}

// What the next phase begins with.
template <class Config>
void start_from(Config& config, const RunFolder& before) {
  config.pretrained = before.last();
  make_absolute(config.pretrained);
  std::vector<std::string> classes;
  const auto metadata = read_weights(before.last()).metadata;
  if (const auto found = metadata.find("classes"); found != metadata.end())
    classes = nlohmann::json::parse(found->second).get<std::vector<std::string>>();
  config.reset_classifier = classes != open_split(config, "train")->classes();
}

// However a phase ends before its end, the phases after it are not forgotten.
struct Reminder {
  RunFolder all;
  bool wanted;
  mutable bool done = false;
  ~Reminder() {
    if (wanted && !done)
      say(stdout,
          fmt::format("with the phases that follow: {}\n", all.resume_command("segnext train")));
  }
};

// Trains a phase to its end, or until it is stopped.
template <class Config>
bool run_phase(Config config, const RunFolder& folder, const RunFolder* before, bool overwrite,
               const std::map<std::string, std::string>& given, Communicator& everyone) {
  RunArguments run;
  const bool resuming =
      everyone.broadcast(std::string(fs::exists(folder.config()) ? "1" : "")) == "1";
  (resuming && !overwrite ? run.resume : run.out) = folder.path.string();
  run.overwrite = overwrite;
  const auto state = state_of_root(everyone.is_root() ? run.open() : std::nullopt, everyone);
  if (run.resuming()) {
    std::map<std::string, std::string> own;
    for (const Setting& s : settings_of(config))
      if (s.resumable && s.key != "data-root" && given.contains(s.key))
        own[s.key] = given.at(s.key);
    run.read(settings_of(config), own, state);
  } else if (before != nullptr && config.pretrained.empty()) {
    start_from(config, *before);
  }
  return run_training(*task_of(config, state.has_value(), everyone), run, state, everyone);
}

}  // namespace

std::string phases_file(const RunArguments& run) {
  return (run.folder().path / "phases.toml").string();
}

void run_phases(const RunArguments& run, std::vector<Phase> phases,
                const std::map<std::string, std::string>& given, Communicator& everyone) {
  check_options(run, given);
  for (Phase& phase : phases)
    std::visit([&](auto& config) { take_options(config, phase.name, &phase == &phases[0], given); },
               phase.config);
  const fs::path out = run.folder().path;
  if (everyone.is_root() && !run.resuming()) {
    if (fs::exists(phases_file(run)) && !run.overwrite)
      fail_input("{}: a run is there already; add --overwrite, use another --out, or --resume {}",
                 phases_file(run), out.string());
    make_folder(out, "--out");
    write_file_atomic(phases_file(run), phases_text(phases));
  }
  std::optional<RunFolder> before;
  for (std::size_t i = 0; i < phases.size(); ++i) {
    const RunFolder folder{out / fmt::format("{}-{}", i + 1, phases[i].name)};
    const bool fresh = !run.resuming() && run.overwrite;
    const std::string done = !fresh && everyone.is_root() && is_complete(folder) ? "done" : "";
    if (everyone.broadcast(done).empty()) {
      if (everyone.is_root())
        say(stdout, fmt::format("phase {} of {}: {}\n", i + 1, phases.size(), phases[i].name));
      const auto run_it = [&](const auto& config) {
        return run_phase(config, folder, before ? &*before : nullptr, fresh, given, everyone);
      };
      const Reminder reminder{{out}, everyone.is_root() && phases.size() > i + 1};
      if (!std::visit(run_it, phases[i].config)) return;
      reminder.done = true;
    }
    before = folder;
  }
}

}  // namespace nextgrad
