#include "apps/training/trainer.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "apps/report/progress.h"
#include "apps/training/captured_step.h"
#include "apps/training/feed.h"
#include "apps/training/run_log.h"
#include "apps/training/signals.h"
#include "data/files/file.h"
#include "nn/ema.h"
#include "nn/random.h"
#include "tensor/ops.h"

namespace nextgrad {
namespace {

constexpr auto kReplace = nlohmann::json::error_handler_t::replace;  // what is not UTF-8

void append(std::vector<NamedTensor>& all, const std::string& prefix, const StateDict& some) {
  for (const auto& [name, tensor] : some) all.push_back({prefix + name, tensor});
}

StateDict select(const std::vector<NamedTensor>& all, const std::string& prefix) {
  StateDict some;
  for (const auto& [name, tensor] : all)
    if (name.rfind(prefix, 0) == 0) some.push_back({name.substr(prefix.size()), tensor});
  return some;
}

std::string text_of(const RunLog::Mark& mark) {
  return fmt::format("{} {}", mark.bytes, mark.crc32);
}

RunLog::Mark mark_of(const std::string& text) {
  RunLog::Mark mark;
  std::istringstream in(text);
  if (!(in >> mark.bytes >> mark.crc32) || !in.eof())
    fail_input("what it says of the log is damaged");
  return mark;
}

// Of what two runs learn from: "class 1 was a and is b", "the split train had 20 samples and has
// 21"; empty if nothing changed. Throws json::exception for something else.
std::string difference(const nlohmann::json& before, const nlohmann::json& now) {
  const nlohmann::json &was = before.at("classes"), &is = now.at("classes");
  for (std::size_t c = 0; c < std::min(was.size(), is.size()); ++c)
    if (was[c] != is[c])
      return fmt::format("class {} was {} and is {}", c, was[c].get<std::string>(),
                         is[c].get<std::string>());
  if (was.size() != is.size())
    return fmt::format("there were {} classes and are {}", was.size(), is.size());
  const nlohmann::json &old_splits = before.at("splits"), &splits = now.at("splits");
  if (old_splits.size() != splits.size()) return "there are other splits";
  for (std::size_t i = 0; i < splits.size(); ++i) {
    const nlohmann::json &a = old_splits.at(i), &b = splits.at(i);
    const std::string split = b.at("name");
    const std::int64_t had = a.at("samples"), has = b.at("samples");
    if (had != has) return fmt::format("the split {} had {} samples and has {}", split, had, has);
    if (a != b)
      return fmt::format("the split {} has samples of other names, or in another order", split);
  }
  return {};
}

class Trainer {
 public:
  Trainer(TrainTask& task, const RunFolder& folder, Communicator& hosts, const ProgressTail& tail)
      : task_(task),
        tail_(tail),
        folder_(folder),
        options_(task.options()),
        hosts_(hosts),
        everyone_(backend_of(task.model().device()).connect(hosts)) {
    share_of(hosts, options_.batch, options_.mirrored);  // there is one, or nothing begins
  }

  bool run(const std::optional<TrainState>& state) {
    optimizer_ = task_.make_optimizer();
    if (options_.ema > 0) average_ = std::make_unique<WeightAverage>(task_.model(), options_.ema);
    if (state)
      restore(*state);
    else if (hosts_.is_root())
      log_ = std::make_unique<RunLog>(folder_.log(), std::nullopt);
    open_stream();
    task_.model().train();
    window_ = next_window_ = mark();
    try {
      loop();
      save();
      // A run that validated nothing since it was resumed has no pictures: the older report has.
      if (hosts_.is_root() && (task_.has_pictures() || !std::filesystem::exists(folder_.report())))
        write_report();
    } catch (...) {
      rescue();
    }
    return iteration_ >= options_.iterations && validated_ == iteration_;
  }

 private:
  std::uint64_t seed() const { return static_cast<std::uint64_t>(options_.seed); }
  std::int64_t images_per_iteration() const { return options_.batch * options_.accumulate; }

  void restore(const TrainState& state) {
    std::string changed;
    std::int64_t total = 0;
    try {
      total = std::stoll(state.extra.at("iterations"));
      load_state_dict(task_.model(), select(state.tensors, "model."));
      optimizer_->load_state(select(state.tensors, "optimizer."));
      if (average_) average_->load_state(select(state.tensors, "average."));
      validated_ = std::stoll(state.extra.at("validated"));
      best_iteration_ = std::stoll(state.extra.at("best_iteration"));
      if (hosts_.is_root())
        log_ = std::make_unique<RunLog>(folder_.log(), mark_of(state.extra.at("log")));
      changed = difference(nlohmann::json::parse(state.extra.at("data")), options_.data);
      nlohmann::json::parse(state.extra.at("skipped")).get_to(skipped_);
    } catch (const InputError&) {
      throw;
    } catch (const std::exception& e) {
      fail_input("{}: is no state of the run in {} ({}); start anew with --out and --overwrite",
                 folder_.state(), folder_.config(), e.what());
    }
    if (!changed.empty())
      fail_input(
          "{}: the data set is another than this run began with: {}; bring it back, or start "
          "a new run with --pretrained {}",
          folder_.state(), changed, folder_.last());
    if (options_.iterations < std::max(total, state.iteration))
      fail_input("--iterations {}: the run is one of {}, and it can only grow; leave it out",
                 options_.iterations, total);
    iteration_ = saved_ = state.iteration;
    best_ = state.best;
  }

  // Micro-batches are numbered through: iteration i takes those from i * accumulate on.
  void open_stream() {
    step_ = std::make_unique<CapturedStep>(task_, *optimizer_, options_, *everyone_);
    LoaderConfig stream;
    stream.batch = options_.batch;
    for (const auto& [begin, end] : step_->share().samples)
      for (std::int64_t k = begin; k < end; ++k) stream.samples.push_back(k);
    stream.seed = seed();
    stream.start_iteration = iteration_ * options_.accumulate;
    stream.end_iteration = options_.iterations * options_.accumulate;
    stream.workers = static_cast<int>(options_.workers);
    stream.skip_damaged = options_.skip_damaged > 0;
    feed_ = std::make_unique<Feed>(std::make_unique<Loader>(task_.samples(), stream),
                                   task_.model().device());
    batch_ = {};
  }

  // A stop between an iteration and its validation leaves the validation to the resumed run.
  bool validation_due() const {
    return iteration_ > validated_ &&
           (iteration_ >= options_.iterations ||
            (options_.val_every > 0 && iteration_ % options_.val_every == 0));
  }

  void loop() {
    while (stopping_ == 0) {
      const bool due = validation_due();
      const bool checkpoint = options_.checkpoint_every > 0 && iteration_ > 0 &&
                              iteration_ % options_.checkpoint_every == 0;
      // Before every validation: whatever happens in it costs nothing that was trained.
      if ((due || checkpoint) && saved_ != iteration_) save();
      if (due) {
        if (!validate()) return;
      } else {
        if (iteration_ >= options_.iterations) return;
        train_iteration();
      }
    }
  }

  // What was trained, from the exception that is being handled.
  [[noreturn]] void rescue() {
    const std::string kept = keep_sound_state();
    const auto no_memory = [&] {
      return fmt::format("out of memory in {} at iteration {}; {}",
                         validating_ ? "validation" : "training",
                         iteration_ + (validating_ ? 0 : 1),
                         validating_ ? options_.less_memory_validating : options_.less_memory);
    };
    try {
      throw;
    } catch (const PeerFailure& e) {
      throw PeerFailure(e.what() + kept, e.code());
    } catch (const InputError& e) {
      throw InputError(e.what() + kept);
    } catch (const OutOfMemory& e) {  // in a validation it names the picture, and what helps
      throw OutOfMemory((validating_ ? e.what() : no_memory()) + kept);
    } catch (const std::bad_alloc&) {
      throw OutOfMemory(no_memory() + kept);
    } catch (const std::exception& e) {
      throw Error(e.what() + kept);
    }
  }

  // Saves what iteration_ iterations have made, if that is what the model is or can be made again:
  // unless the step that failed was changing the weights (it does not with a gradient that is not
  // finite), only its forward's running statistics are to be taken back. Says what is kept.
  std::string keep_sound_state() {
    if (!hosts_.is_root()) return {};
    std::string trouble;
    try {
      bool sound = iteration_ > 0;
      if (stepping_) {
        sound = sound && !buffers_.empty() && (refused_ || !step_->updated());
        const auto buffers = task_.model().named_buffers();
        for (std::size_t i = 0; sound && i < buffers.size(); ++i)
          buffers[i].value->copy_(buffers_[i]);
      }
      if (sound && saved_ != iteration_ && weights_finite()) save();
    } catch (const std::exception& e) {
      trouble = fmt::format("; what was trained since could not be saved: {}", e.what());
    }
    if (saved_ <= 0) return "; no checkpoint was written yet" + trouble;
    return fmt::format("; iteration {} is saved, go on from it with: {}{}", saved_,
                       folder_.resume_command(options_.command), trouble);
  }

  // On a GPU a copy costs a launch a buffer, and after an error there the device is not to be
  // trusted anyway: only where a batch may still fail between micro-batches, or another rank.
  void keep_buffers() {
    const bool gpu = task_.model().device().kind != Device::Kind::cpu;
    if (gpu && options_.accumulate == 1 && hosts_.size() == 1) return;
    const auto buffers = task_.model().named_buffers();
    if (buffers_.empty())
      for (const Buffer& b : buffers) buffers_.push_back(b.value->clone());
    else
      for (std::size_t i = 0; i < buffers.size(); ++i) buffers_[i].copy_(*buffers[i].value);
  }

  // The next micro-batch, and word of the damaged pictures that others stand in for.
  void take_batch() {
    feed_->next(batch_);
    if (options_.skip_damaged == 0) return;
    nlohmann::json own = nlohmann::json::array();
    for (const auto& [name, why] : batch_.damaged) own.push_back({printable(name), why});
    for (const std::string& text : hosts_.gather(own.dump(-1, ' ', false, kReplace)))
      for (const auto& damaged : nlohmann::json::parse(text)) pass_over(damaged[0], damaged[1]);
  }
  void pass_over(const std::string& name, const std::string& why) {
    if (skipped_.contains(name)) return;
    // One too many is not counted: a resumed run would pass over it without a word.
    if (std::ssize(skipped_) >= options_.skip_damaged)
      fail_input("{}; --skip-damaged {} are left out already", why, options_.skip_damaged);
    skipped_.insert(name);
    note({{"iteration", iteration_ + 1}, {"skipped", name}, {"why", printable(why)}});
    progress_.message(printable(fmt::format("left out: {}", why)));
  }
  void note(const nlohmann::json& record) {
    if (log_) log_->add(record);
  }

  // One optimiser step over `accumulate` micro-batches, waited for.
  CapturedStep::Result step(double lr) {
    take_batch();
    keep_buffers();
    step_->begin();
    stepping_ = true;
    const CapturedStep::Result result =
        options_.accumulate > 1 ? accumulated_step(lr) : (*step_)(batch_, lr);
    if (average_ && std::isfinite(result.loss) && std::isfinite(result.grad_norm))
      average_->update();
    return result;
  }

  // The mean loss of this share of all micro-batches.
  CapturedStep::Result accumulated_step(double lr) {
    task_.model().zero_grad();
    double loss = 0;
    for (std::int64_t k = 0; k < options_.accumulate; ++k) {
      if (k > 0) take_batch();
      const Tensor own = step_->accumulate(batch_, k + 1 == options_.accumulate);
      loss += step_->waited_for(own) * step_->weight();
    }
    return {loss, step_->update(lr).item()};
  }

  // What each rank made of an iteration: its share of the loss, whether it was asked to stop, and
  // where its seconds went.
  struct RankStep {
    double loss, stop, busy, summing, loading;
  };
  std::vector<RankStep> of_all_ranks(const RankStep& own) const {
    const std::vector<double> mine{own.loss, own.stop, own.busy, own.summing, own.loading};
    const auto all = hosts_.gather(Tensor::from(mine, {5})).to_vector<double>();
    std::vector<RankStep> ranks;
    for (std::size_t r = 0; r < all.size(); r += 5)
      ranks.push_back({all[r], all[r + 1], all[r + 2], all[r + 3], all[r + 4]});
    return ranks;
  }

  bool weights_finite() const {
    const auto finite = [](const Tensor& t) { return !is_floating(t.dtype()) || all_finite(t); };
    return std::ranges::all_of(task_.model().named_parameters(),
                               [&](const Parameter& p) { return finite(p.value.value()); }) &&
           std::ranges::all_of(task_.model().named_buffers(),
                               [&](const Buffer& b) { return finite(*b.value); });
  }

  void check_weights() const {  // such weights are never saved
    if (!weights_finite())
      fail("a weight is not finite at iteration {}; lower --lr or set --clip-grad", iteration_);
  }

  void train_iteration() {
    const double lr = options_.schedule.lr(iteration_);
    const Stopwatch clock;
    const double summed = hosts_.waited(), loaded = feed_->wait_seconds();
    const auto [own_loss, norm] = step(lr);
    const double summing = hosts_.waited() - summed, loading = feed_->wait_seconds() - loaded;
    const auto ranks = of_all_ranks({own_loss, static_cast<double>(stop_requested()),
                                     clock.seconds() - summing - loading, summing, loading});
    double loss = 0;
    for (const RankStep& r : ranks) {
      loss += r.loss;
      stopping_ = std::max(stopping_, static_cast<int>(r.stop));
    }
    if (stopping_ != 0) hosts_.request_stop(stopping_);
    refused_ = !std::isfinite(norm);
    if (refused_ || !std::isfinite(loss))
      fail("loss or gradient is {} at iteration {}; lower --lr or set --clip-grad",
           std::isfinite(loss) ? norm : loss, iteration_ + 1);
    stepping_ = false;
    ++iteration_;
    measure_speed(ranks);
    nlohmann::json record = {{"iteration", iteration_},
                             {"loss", loss},
                             {"lr", lr},
                             {"grad_norm", norm},
                             {"images_per_second", images_per_second_},
                             {"wait_share", wait_share_},
                             {"peak_bytes", backend_of(task_.model().device()).memory().peak}};
    if (hosts_.size() > 1) record["sum_share"] = sum_share_, record["slowest_rank"] = slowest_;
    note(record);
    show_progress(loss, lr);
  }

  void measure_speed(const std::vector<RankStep>& ranks) {
    const double seconds = std::max(window_.clock.seconds(), 1e-9);
    images_per_second_ =
        static_cast<double>((iteration_ - window_.iteration) * images_per_iteration()) / seconds;
    wait_share_ = (feed_->wait_seconds() - window_.waited) / seconds;
    sum_share_ = (hosts_.waited() - window_.summed) / seconds;
    busy_.resize(ranks.size());
    for (std::size_t r = 0; r < ranks.size(); ++r) busy_[r] += ranks[r].busy + ranks[r].loading;
    ++timed_;
    slowest_ = std::ranges::max_element(busy_) - busy_.begin();
    if (next_window_.clock.seconds() > 15) {
      window_ = next_window_;
      next_window_ = mark();
    }
  }
  // Of each rank, how fast it would be if it waited for nobody.
  void note_ranks() {
    if (hosts_.size() == 1 || timed_ == 0) return;
    nlohmann::json speeds = nlohmann::json::array();
    for (std::size_t r = 0; r < busy_.size(); ++r) {
      const Share share =
          share_of(*everyone_, options_.batch, options_.mirrored, static_cast<int>(r));
      speeds.push_back(static_cast<double>(share.count() * options_.accumulate * timed_) /
                       std::max(busy_[r], 1e-9));
    }
    note({{"iteration", iteration_}, {"rank_images_per_second", speeds}});
  }

  void show_progress(double loss, double lr) {
    const double each = static_cast<double>(images_per_iteration()) / images_per_second_;
    const double left = static_cast<double>(options_.iterations - iteration_) * each;
    const auto peak = static_cast<double>(backend_of(task_.model().device()).memory().peak);
    progress_.update(
        fmt::format("{}/{}  loss {}  lr {:.2e}  {:.1f} images/s  waiting {:.0f} %{}  memory {}  "
                    "left {}{}",
                    iteration_, options_.iterations, format_decimals(loss, 4), lr,
                    images_per_second_, 100 * wait_share_, of_ranks(), format_bytes(peak),
                    format_duration(left), tail_ ? tail_(left, each) : ""),
        iteration_ == options_.iterations);
  }

  // "  sums 3 %  slowest of 8: 5", of several ranks.
  std::string of_ranks() const {
    if (hosts_.size() == 1) return {};
    return fmt::format("  sums {:.0f} %  slowest of {}: {}", 100 * sum_share_, hosts_.size(),
                       slowest_);
  }

  bool validate() {  // false: interrupted
    check_weights();
    validating_ = true;
    std::optional<AveragedWeights> averaged;
    if (average_) averaged.emplace(*average_);
    const auto result = task_.validate([&](std::int64_t done, std::int64_t all) {
      progress_.update(
          fmt::format("{}/{}  validating {} of {}", iteration_, options_.iterations, done, all));
      if (const int how = stop_requested(); how != 0) hosts_.request_stop(how);
      return hosts_.stop_requested() == 0;
    });
    validating_ = false;
    if (!result) {
      // One decision for all, whenever they heard of it.
      const Tensor how = Tensor::full({1}, hosts_.stop_requested(), DType::f64);
      for (const double h : hosts_.gather(how).to_vector<double>())
        stopping_ = std::max(stopping_, static_cast<int>(h));
      hosts_.request_stop(stopping_);
      return false;
    }
    validated_ = iteration_;
    note({{"iteration", iteration_}, {"validation", result->record}});
    note_ranks();
    const bool better = result->score > best_;  // NaN never is
    if (better) {
      best_ = result->score;
      best_iteration_ = iteration_;
      if (hosts_.is_root()) task_.save_weights(folder_.best());
    }
    averaged.reset();
    progress_.message(fmt::format("validation at {}: {}{}", iteration_, result->summary,
                                  better ? "  (best so far)" : ""));
    save();
    if (hosts_.is_root()) write_report();
    window_ = next_window_ = mark();
    return true;
  }

  struct Saving {
    explicit Saving(Communicator& everyone) : everyone_(everyone) { everyone_.set_saving(true); }
    ~Saving() { everyone_.set_saving(false); }
    Saving(const Saving&) = delete;
    Saving& operator=(const Saving&) = delete;
    Communicator& everyone_;
  };
  // The state file holds all that a resumed run needs, weights too, so that a crash between the two
  // files does no harm.
  void save() {
    if (!hosts_.is_root()) {
      saved_ = iteration_;
      return;
    }
    const Saving saving(hosts_);
    check_weights();
    TrainState state;
    state.iteration = iteration_;
    state.seed = seed();
    state.best = best_;
    state.config = options_.settings;
    append(state.tensors, "model.", state_dict(task_.model()));
    append(state.tensors, "optimizer.", optimizer_->state());
    if (average_) append(state.tensors, "average.", average_->state());
    state.extra = {{"validated", std::to_string(validated_)},
                   {"best_iteration", std::to_string(best_iteration_)},
                   {"iterations", std::to_string(options_.iterations)},
                   {"data", options_.data.dump()},
                   {"skipped", nlohmann::json(skipped_).dump()},
                   {"log", text_of(log_->mark())}};
    save_train_state(folder_.state(), state);
    saved_ = iteration_;
    std::optional<AveragedWeights> averaged;
    if (average_) averaged.emplace(*average_);
    task_.save_weights(folder_.last());
  }

  void write_report() {
    write_file_atomic(folder_.report(), task_.report(log_->records(), best_iteration_));
  }

  TrainTask& task_;
  const ProgressTail tail_;
  const RunFolder folder_;
  const TrainerOptions options_;
  Communicator& hosts_;
  std::unique_ptr<Communicator> everyone_;  // of the model's device
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<WeightAverage> average_;
  std::unique_ptr<CapturedStep> step_;
  std::unique_ptr<Feed> feed_;
  Batch batch_;
  std::unique_ptr<RunLog> log_;
  ProgressLine progress_{stdout};
  std::int64_t iteration_ = 0;  // done
  std::int64_t saved_ = -1;     // iteration of the state file
  std::int64_t validated_ = 0;  // iteration of the last validation
  std::int64_t best_iteration_ = 0;
  double best_ = -1;
  bool stepping_ = false, validating_ = false;
  bool refused_ = false;           // by the optimiser, for the gradient's norm
  int stopping_ = 0;               // how a rank was asked to stop
  std::vector<Tensor> buffers_;    // the model's, as they were before the present step
  std::set<std::string> skipped_;  // damaged pictures
  // Since when speed and waiting are measured: 15 to 30 seconds ago, but not before the last
  // validation.
  struct Mark {
    Stopwatch clock;
    double waited = 0, summed = 0;
    std::int64_t iteration = 0;
  };
  Mark mark() const { return {Stopwatch(), feed_->wait_seconds(), hosts_.waited(), iteration_}; }
  Mark window_, next_window_;
  double images_per_second_ = 0, wait_share_ = 0, sum_share_ = 0;
  std::vector<double> busy_;  // seconds of each rank that it did not wait for others
  std::int64_t timed_ = 0;    // in so many iterations
  std::ptrdiff_t slowest_ = 0;
};

}  // namespace

bool run_training(TrainTask& task, const RunFolder& folder, const std::optional<TrainState>& state,
                  Communicator& everyone, const ProgressTail& tail) {
  return Trainer(task, folder, everyone, tail).run(state);
}

bool run_training(TrainTask& task, RunArguments& run, const std::optional<TrainState>& state,
                  Communicator& everyone, const ProgressTail& tail) {
  const TrainerOptions options = task.options();
  Trainer trainer(task, run.folder(), everyone, tail);
  if (everyone.is_root()) run.begin(options.settings);
  install_signal_handlers();
  const bool complete = trainer.run(state);
  run.end(complete, options.command);
  if (!complete && std::max(stop_requested(), everyone.stop_requested()) == kMakeRoom)
    throw Preempted();
  return complete;
}

}  // namespace nextgrad
