#include "apps/training/study_run.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "apps/inference/checkpoint.h"
#include "apps/report/progress.h"
#include "apps/report/study_report.h"
#include "apps/settings/same.h"
#include "apps/training/run_log.h"
#include "apps/training/signals.h"
#include "apps/training/state_of_root.h"
#include "apps/training/trainer.h"
#include "models/cost.h"

namespace nextgrad {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// Those of a resumed run that may change and yet make other figures.
const std::set<std::string> kFigures = {"iterations",       "epochs",     "pretrained",
                                        "reset-classifier", "precision",  "val-size",
                                        "val-multiple",     "val-window", "val-stride"};

// Does work on a variant; what is wrong with it names it.
template <class Work>
auto of_variant(const Study& study, const StudyVariant& v, const Work& work) {
  try {
    return work();
  } catch (const InputError& e) {
    fail_input("{}: variant {}: {}", study.name, v.name, e.what());
  }
}

std::string text_of_file(const std::string& path) {
  const auto bytes = read_file(path);
  return {bytes.begin(), bytes.end()};
}

std::string json_path(const std::string& out) {
  return out + "/study.json";
}

// The results of former calls.
std::vector<StudyRun> read_results(const Study& study, const std::string& out) {
  const std::string path = json_path(out);
  if (!fs::exists(path)) return {};
  try {
    const json found = json::parse(text_of_file(path));
    if (const std::string size = found.at("time_size"); size != study.time_size.str())
      fail_input("{}: time-size is {} there and {} in {}; put that back, or use another --out",
                 path, size, study.time_size.str(), study.name);
    return study_runs(found);
  } catch (const json::exception& e) {
    fail_input(
        "{}: is not what a study wrote ({}); remove it: complete runs beside it are not trained "
        "again",
        path, e.what());
  }
}

void write_results(const Study& study, const std::vector<StudyRun>& runs, const std::string& out) {
  write_file_atomic(json_path(out), study_json(study, runs).dump(2) + "\n");
}

void write_tables(const Study& study, const std::vector<StudyRun>& runs, const std::string& out) {
  write_file_atomic(out + "/study.md", study_markdown(study, study_rows(study, runs)));
}

void require_same_settings(const TrainConfig& there, const TrainConfig& now,
                           const std::string& where, const Study& study) {
  TrainConfig was = there, is = now;
  const Settings before = settings_of(was), after = settings_of(is);
  for (std::size_t i = 0; i < before.size(); ++i)
    if (before[i].str() != after[i].str() &&
        (!before[i].resumable || kFigures.contains(before[i].key)))
      fail_input("{}: {} is {} there and {} in {}; put that back, or use another --out", where,
                 before[i].key, before[i].str(), after[i].str(), study.name);
}

ModelConfig model_of(const TrainConfig& config, int classes) {
  return model_config(static_cast<const ModelSettings&>(config), classes);
}

StageCost cost_of(const Study& study, const StudyVariant& v, int classes) {
  return of_variant(study, v, [&] {
    return model_cost(model_of(v.config, classes), study.time_size.height, study.time_size.width)
        .total;
  });
}

// Of one prediction, the median of some.
double milliseconds_of(Segmenter& model, const Size& size) {
  constexpr std::size_t kWarmUp = 3, kTimed = 5;
  model.eval();
  ModelForward forward(model);
  const Tensor image =
      Tensor::full({1, size.height, size.width, kImageChannels}, 0.5).to(model.device());
  std::vector<double> seconds;
  for (std::size_t i = 0; i < kWarmUp + kTimed; ++i) {
    const Stopwatch clock;
    forward(image);
    image.backend().synchronize();
    if (i >= kWarmUp) seconds.push_back(clock.seconds());
  }
  std::ranges::sort(seconds);
  return 1e3 * seconds[kTimed / 2];
}

double number(const json& record, const char* key) {
  const auto at = record.find(key);
  return at != record.end() && at->is_number() ? at->get<double>()
                                               : std::numeric_limits<double>::quiet_NaN();
}

// What the log of a complete run tells: its last validation, and the memory of the training, which
// is the peak before the first one.
void add_log(StudyRun& run, const std::string& path) {
  json last, training;
  for (const json& record : log_records(text_of_file(path))) {
    if (record.contains("validation")) last = record.at("validation");
    if (record.contains("loss") && last.is_null()) training = record;
  }
  if (last.is_null())
    fail_input("{}: tells of no validation; remove the run's folder, so that it is run again",
               path);
  run.miou = number(last, "mIoU");
  run.mean_accuracy = number(last, "mAcc");
  run.all_accuracy = number(last, "aAcc");
  run.peak_bytes = number(training, "peak_bytes");
}

class StudyRunner {
 public:
  StudyRunner(const Study& study, const StudyOptions& options, Communicator& everyone)
      : study_(study), options_(options), everyone_(everyone) {}

  void run() {
    install_signal_handlers();
    check_variants();
    std::unique_ptr<RunLock> lock;
    if (everyone_.is_root()) {
      make_folder(options_.out, "--out");
      lock = std::make_unique<RunLock>(options_.out);
      runs_ = read_results(study_, options_.out);
    }
    share_results();
    for (const StudyRun& r : runs_) check_recorded(r);
    try {
      for (current_ = 0; current_ < jobs_.size() && !stopping(); ++current_)
        if (!recorded(jobs_[current_]) && !run_job(jobs_[current_])) break;
    } catch (const Preempted&) {
      tell_end();
      throw;
    }
    if (everyone_.is_root()) write_tables(study_, runs_, options_.out);
    tell_end();
    if (stopping() == kMakeRoom) throw Preempted();
  }

 private:
  struct Job {  // a run
    const StudyVariant* variant;
    std::int64_t seed;
    StageCost cost;
    std::int64_t iterations;
    double work;  // multiply-adds of a training iteration, to a factor that all share
    TrainConfig config() const {
      TrainConfig c = variant->config;
      c.seed = seed;
      return c;
    }
  };

  // By the seeds: after the first of them the whole table is there.
  void check_variants() {
    for (const StudyVariant& v : study_.variants) {
      if (!options_.only.empty() && std::ranges::find(options_.only, v.name) == options_.only.end())
        continue;
      of_variant(study_, v, [&] {
        if (!v.config.pretrained.empty()) const InputFile readable(v.config.pretrained);
        // As if there were a state: nothing else is read or said yet.
        const auto task = segmentation_task(v.config, true, everyone_);
        const int classes = dynamic_cast<Segmenter&>(task->model()).config().num_classes;
        const StageCost cost = cost_of(study_, v, classes);
        const Size& crop = v.config.crop;
        const double images = static_cast<double>(v.config.batch * v.config.accumulate);
        const double work = static_cast<double>(cost.multiply_adds) * images *
                            static_cast<double>(crop.height * crop.width);
        for (const std::int64_t seed : study_.seeds)
          jobs_.push_back({&v, seed, cost, task->options().iterations, work});
      });
    }
    std::ranges::stable_sort(jobs_, {}, [&](const Job& j) {
      return std::ranges::find(study_.seeds, j.seed) - study_.seeds.begin();
    });
  }

  void share_results() {
    runs_ = study_runs(json::parse(everyone_.broadcast(study_json(study_, runs_).dump())));
  }
  void check_recorded(const StudyRun& r) const {
    const auto job = std::ranges::find_if(jobs_, [&](const Job& j) { return is_of(r, j); });
    if (job == jobs_.end()) return;
    TrainConfig there;
    const std::string where =
        fmt::format("{}: {} seed {}", json_path(options_.out), r.variant, r.seed);
    load_config_text(r.settings, where, settings_of(there));
    require_same_settings(there, job->config(), where, study_);
  }
  static bool is_of(const StudyRun& r, const Job& j) {
    return r.variant == j.variant->name && r.seed == j.seed;
  }
  bool recorded(const Job& j) const {
    return std::ranges::any_of(runs_, [&](const StudyRun& r) { return is_of(r, j); });
  }

  // How any rank was asked to stop.
  int stopping() const {
    const Tensor own = Tensor::full({1}, stop_requested(), DType::f64);
    const auto all = everyone_.gather(own).to_vector<double>();
    return static_cast<int>(*std::ranges::max_element(all));
  }
  void tell_end() const {
    if (!everyone_.is_root()) return;
    const auto done = std::ranges::count_if(jobs_, [&](const Job& j) { return recorded(j); });
    const bool all = done == std::ssize(jobs_);
    say(stdout, all ? fmt::format("study done: {}/study.md and study.json\n", options_.out)
                    : fmt::format("{} of {} runs are complete; the same command goes on\n", done,
                                  jobs_.size()));
  }

  // False if it was stopped.
  bool run_job(const Job& job) {
    const RunFolder folder{fs::path(options_.out) /
                           fmt::format("{}-seed{}", job.variant->name, job.seed)};
    say(stdout, fmt::format("run {} of {}: {}, seed {}\n", current_ + 1, jobs_.size(),
                            job.variant->name, job.seed));
    RunArguments run;
    TrainConfig config = job.config();
    const bool begun = fs::exists(folder.config()) || fs::exists(folder.state());
    // One decision for all: root is about to make the folder.
    (everyone_.broadcast(begun ? "yes" : "no") == "yes" ? run.resume : run.out) = folder.path;
    const auto state = state_of_root(everyone_.is_root() ? run.open() : std::nullopt, everyone_);
    if (run.resuming()) {
      TrainConfig there;
      run.read(settings_of(there), {}, state);
      require_same_settings(there, config, folder.path.string(), study_);
    }
    const auto task = segmentation_task(config, state.has_value(), everyone_);
    backend_of(task->model().device()).reset_peak();
    const auto tail = [&](double left, double iteration) { return tail_of(job, left, iteration); };
    if (!run_training(*task, run, state, everyone_, tail)) return false;
    record(job, folder, dynamic_cast<Segmenter&>(task->model()));
    return true;
  }

  // The runs to come take as long as their models have multiply-adds, by this one's measure.
  std::string tail_of(const Job& job, double left, double iteration) const {
    for (std::size_t i = current_ + 1; i < jobs_.size(); ++i)
      if (!recorded(jobs_[i]))
        left += iteration * static_cast<double>(jobs_[i].iterations) * jobs_[i].work / job.work;
    return fmt::format("  run {} of {}, all left {}", current_ + 1, jobs_.size(),
                       format_duration(left));
  }

  void record(const Job& job, const RunFolder& folder, Segmenter& model) {
    StudyRun run{.variant = job.variant->name,
                 .seed = job.seed,
                 .parameters = static_cast<double>(job.cost.parameters),
                 .multiply_adds = static_cast<double>(job.cost.multiply_adds),
                 .settings = config_text(job.config())};
    if (everyone_.is_root()) {
      add_log(run, folder.log());
      run.milliseconds = milliseconds_of(model, study_.time_size);
    }
    runs_.push_back(run);
    if (!everyone_.is_root()) return;
    write_results(study_, runs_, options_.out);
    write_tables(study_, runs_, options_.out);
  }

  const Study& study_;
  const StudyOptions& options_;
  Communicator& everyone_;
  std::vector<Job> jobs_;
  std::vector<StudyRun> runs_;  // complete
  std::size_t current_ = 0;     // job
};

}  // namespace

std::string study_plan(const Study& study) {
  std::string text = fmt::format("{}\n{:<24}{:>15}{:>20}{:>12}  {}\n", study.title, "variant",
                                 "parameters (M)", "multiply-adds (G)", "iterations", "data");
  std::string note;
  for (const StudyVariant& v : study.variants) {
    int classes = 150;
    try {
      classes = open_split(v.config, "train")->num_classes();
    } catch (const InputError& e) {
      note = fmt::format("counted with 150 classes, as the data is not there: {}\n", e.what());
    }
    const StageCost cost = cost_of(study, v, classes);
    text += fmt::format("{:<24}{:>15.3f}{:>20.3f}{:>12}  {}\n", v.name,
                        static_cast<double>(cost.parameters) / 1e6,
                        static_cast<double>(cost.multiply_adds) / 1e9,
                        v.config.epochs > 0 ? fmt::format("{} epochs", v.config.epochs)
                                            : fmt::format("{}", v.config.iterations),
                        v.config.data);
  }
  return text + fmt::format("{} runs: {} variants, seeds {}; pictures of {} counted\n{}",
                            study.variants.size() * study.seeds.size(), study.variants.size(),
                            fmt::join(study.seeds, ", "), study.time_size.str(), note);
}

void run_study(const Study& study, const StudyOptions& options, Communicator& everyone) {
  StudyRunner(study, options, everyone).run();
}

void report_study(const Study& study, const std::string& out) {
  const auto runs = read_results(study, out);
  if (runs.empty()) fail_input("{}: no results there yet; run the study first", json_path(out));
  write_tables(study, runs, out);
}

}  // namespace nextgrad
