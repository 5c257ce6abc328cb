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

std::string json_path(const std::string& out) {
  return out + "/study.json";
}

// The results of former calls.
std::vector<StudyRun> read_results(const Study& study, const std::string& out) {
  const std::string path = json_path(out);
  if (!fs::exists(path)) return {};
  try {
    const json found = json::parse(read_text(path));
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

RunFolder folder_of(const std::string& out, const std::string& variant, std::int64_t seed) {
  return {fs::path(out) / fmt::format("{}-seed{}", variant, seed)};
}

std::string prediction_path(const std::string& out, const std::string& variant, std::int64_t i) {
  return fmt::format("{}/predictions/{}/{}.png", out, variant, i);
}

// The validation images whose predictions are kept, spread over the split.
std::vector<std::int64_t> kept_images(const Dataset& data) {
  constexpr std::int64_t kMost = 32;
  const std::int64_t n = data.size(), kept = std::min(kMost, n);
  std::vector<std::int64_t> images;
  for (std::int64_t k = 0; k < kept; ++k) images.push_back(k * n / kept);
  return images;
}

void keep_predictions(const TrainConfig& config, const std::string& out, const std::string& variant,
                      Segmenter& model) {
  const auto data = open_split(config, "val");
  const Protocol protocol = val_protocol(config);
  ModelForward forward(model);
  make_folder(fs::path(prediction_path(out, variant, 0)).parent_path(), "--out");
  for (const std::int64_t i : kept_images(*data)) {
    const Sample sample = data->load(i);
    write_png(prediction_path(out, variant, i),
              predict_labels(forward, protocol, resize_views(protocol, sample.image),
                             sample.label.height, sample.label.width));
  }
}

// Share of the labelled pixels in which not all predictions are the same.
double disagreement(const LabelMap& label, const std::vector<LabelMap>& predictions) {
  std::int64_t labelled = 0, other = 0;
  for (std::size_t p = 0; p < label.values.size(); ++p) {
    if (label.values[p] == kIgnoreLabel) continue;
    const auto first = predictions.front().values.at(p);
    ++labelled;
    other += std::ranges::any_of(predictions,
                                 [&](const LabelMap& m) { return m.values.at(p) != first; });
  }
  return labelled > 0 ? static_cast<double>(other) / static_cast<double>(labelled) : 0;
}

void add_pictures(StudyShown& shown, const Study& study, const std::string& out) {
  constexpr std::size_t kMost = 4;
  const auto data = open_split(study.variants.front().config, "val");
  std::vector<std::string> names;
  for (const StudyVariant& v : study.variants)
    if (fs::exists(prediction_path(out, v.name, 0))) names.push_back(v.name);
  if (names.size() < 2) return;
  const auto predictions = [&](std::int64_t i) {
    std::vector<LabelMap> maps;
    for (const auto& name : names) maps.push_back(read_label(prediction_path(out, name, i)));
    return maps;
  };
  std::vector<std::pair<double, std::int64_t>> most;
  for (const std::int64_t i : kept_images(*data))
    most.emplace_back(-disagreement(data->load_label(i), predictions(i)), i);
  std::ranges::sort(most);
  most.resize(std::min(most.size(), kMost));
  for (const auto& [share, i] : most) {
    StudyShown::Picture picture;
    const auto maps = predictions(i);
    for (std::size_t v = 0; v < names.size(); ++v) {
      const auto drawn = report_picture({data->load(i), maps[v]}, data->palette());
      picture.name = fmt::format("{}: {:.0f} %", drawn.name, -100 * share);
      picture.photo = drawn.photo;
      picture.truth = drawn.truth;
      picture.predictions.emplace_back(names[v], drawn.prediction);
    }
    shown.pictures.push_back(picture);
  }
  shown.classes = data->classes();
  shown.palette = data->palette();
}

StudyShown shown_of(const Study& study, const std::vector<StudyRun>& runs, const std::string& out) {
  StudyShown shown;
  for (const StudyRun& r : runs) {
    const auto variant = std::ranges::find(study.variants, r.variant, &StudyVariant::name);
    const std::string log = folder_of(out, r.variant, r.seed).log();
    if (variant == study.variants.end() || !fs::exists(log)) continue;
    const Report report = run_report(variant->config, {}, log_records(read_text(log)), {}, 0, 0);
    shown.curves.push_back({static_cast<std::size_t>(variant - study.variants.begin()),
                            report.scores.front().second, report.loss});
  }
  try {
    add_pictures(shown, study, out);
  } catch (const std::exception& e) {  // a table without pictures is one, too
    say(stderr, printable(fmt::format("study.html is without pictures: {}", e.what())) + "\n");
  }
  return shown;
}

void write_tables(const Study& study, const std::vector<StudyRun>& runs, const std::string& out) {
  const auto rows = study_rows(study, runs);
  write_file_atomic(out + "/study.md", study_markdown(study, rows));
  write_file_atomic(out + "/study.html", study_page(study, rows, shown_of(study, runs, out)));
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
  constexpr std::size_t kWarmUp = 3, kTimed = 9;
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
// is the peak before the first one (a validation's pictures are of other sizes).
void add_log(StudyRun& run, const std::string& path) {
  json last, training;
  for (const json& record : log_records(read_text(path))) {
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
      if (!options_.wants(v.name)) continue;
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
    say(stdout,
        all ? fmt::format("study done: {0}/study.html, study.md and study.json\n", options_.out)
            : fmt::format("{} of {} runs are complete; the same command goes on\n", done,
                          jobs_.size()));
  }

  // False if it was stopped.
  bool run_job(const Job& job) {
    const RunFolder folder = folder_of(options_.out, job.variant->name, job.seed);
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
      const TrainConfig config = job.config();
      if (config.ema > 0) load_pretrained(model, folder.last());  // the averaged weights
      const bool first = std::ranges::find(runs_, run.variant, &StudyRun::variant) == runs_.end();
      if (first) keep_predictions(config, options_.out, run.variant, model);
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
