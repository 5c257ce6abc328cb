#include "apps/trainer.h"

#include <algorithm>
#include <cmath>

#include "apps/signals.h"
#include "data/file.h"
#include "nn/random.h"

namespace nextgrad {
namespace {

void append(std::vector<NamedTensor>& all, const std::string& prefix, const StateDict& some) {
  for (const auto& [name, tensor] : some) all.push_back({prefix + name, tensor});
}

StateDict select(const std::vector<NamedTensor>& all, const std::string& prefix) {
  StateDict some;
  for (const auto& [name, tensor] : all)
    if (name.rfind(prefix, 0) == 0) some.push_back({name.substr(prefix.size()), tensor});
  return some;
}

}  // namespace

void Trainer::restore(const TrainState& state) {
  try {
    load_state_dict(task_.model(), select(state.tensors, "model."));
    optimizer_->load_state(select(state.tensors, "optimizer."));
    if (average_) average_->load_state(select(state.tensors, "average."));
    validated_ = std::stoll(state.extra.at("validated"));
    best_iteration_ = std::stoll(state.extra.at("best_iteration"));
  } catch (const std::exception& e) {
    fail_input("{}: is no state of the run in {} ({}); start anew with --overwrite",
               folder_.state(), folder_.config(), e.what());
  }
  iteration_ = saved_ = state.iteration;
  best_ = state.best;
}

// Micro-batches are numbered through: iteration i takes those from i * accumulate on.
void Trainer::open_stream() {
  LoaderConfig stream;
  stream.batch = options_.batch;
  stream.seed = options_.seed;
  stream.start_iteration = iteration_ * options_.accumulate;
  stream.end_iteration = options_.iterations * options_.accumulate;
  stream.workers = options_.workers;
  feed_ = std::make_unique<Feed>(std::make_unique<Loader>(task_.samples(), stream),
                                 task_.model().device());
  batch_ = {};
  step_ = std::make_unique<RecordedStep>(task_, *optimizer_, options_.clip_grad, options_.seed);
}

// A stop between an iteration and its validation leaves the validation to the resumed run.
bool Trainer::validation_due() const {
  return iteration_ > validated_ &&
         (iteration_ >= options_.iterations ||
          (options_.val_every > 0 && iteration_ % options_.val_every == 0));
}

bool Trainer::run(const RunFolder& folder, const std::optional<TrainState>& state) {
  folder_ = folder;
  optimizer_ = task_.make_optimizer();
  if (options_.ema > 0) average_ = std::make_unique<WeightAverage>(task_.model(), options_.ema);
  if (state) restore(*state);
  log_ = std::make_unique<RunLog>(folder_.log(), iteration_, validated_);
  open_stream();
  task_.model().train();
  window_ = next_window_ = {Stopwatch(), 0, iteration_};
  while (!stop_requested()) {
    if (validation_due()) {
      if (!validate()) break;
      continue;
    }
    if (iteration_ >= options_.iterations) break;
    train_iteration();
    if (!validation_due() && options_.checkpoint_every > 0 &&
        iteration_ % options_.checkpoint_every == 0)
      save();
  }
  save();
  // A run that validated nothing since it was resumed has no pictures: the older report has.
  if (task_.has_pictures() || !std::filesystem::exists(folder_.report())) write_report();
  return iteration_ >= options_.iterations && validated_ == iteration_;
}

// One optimiser step over `accumulate` micro-batches, waited for.
RecordedStep::Result Trainer::step(double lr) {
  RecordedStep::Result result{};
  if (options_.accumulate > 1) {
    result = accumulated_step(lr);
  } else {
    feed_->next(batch_);
    result = (*step_)(batch_, lr);
  }
  if (average_ && std::isfinite(result.loss) && std::isfinite(result.grad_norm)) average_->update();
  return result;
}

// The mean loss of all micro-batches.
RecordedStep::Result Trainer::accumulated_step(double lr) {
  const auto parameters = task_.model().named_parameters();
  const double share = 1.0 / static_cast<double>(options_.accumulate);
  task_.model().zero_grad();
  double loss = 0;
  for (std::int64_t k = 0; k < options_.accumulate; ++k) {
    feed_->next(batch_);
    const RandomScope random(options_.seed, static_cast<std::uint64_t>(batch_.iteration));
    const Variable value = task_.loss(batch_);
    loss += value.item() * share;
    if (!std::isfinite(loss)) return {loss, loss};
    value.backward();
  }
  scale_grads(parameters, share);
  const Tensor norm = grad_norm(parameters);
  optimizer_->step(lr, {norm, options_.clip_grad});
  return {loss, norm.item()};
}

void Trainer::fail_diverged(const std::string& what, std::int64_t iteration) const {
  fail("{} at iteration {}; {}; lower --lr or set --clip-grad", what, iteration,
       saved_ >= 0 ? fmt::format("{} of iteration {} is kept", folder_.state(), saved_)
                   : "no checkpoint was written yet");
}

void Trainer::check_weights() const {
  bool finite = true;
  for (const auto& p : task_.model().named_parameters())
    finite = finite && p.value.backend().all_finite(p.value.value());
  for (const auto& b : task_.model().named_buffers())
    if (is_floating(b.value->dtype())) finite = finite && b.value->backend().all_finite(*b.value);
  if (!finite) fail_diverged("a weight is not finite", iteration_);
}

void Trainer::train_iteration() {
  const double lr = options_.schedule.lr(iteration_);
  const auto [loss, norm] = step(lr);
  if (!std::isfinite(loss) || !std::isfinite(norm))
    fail_diverged(fmt::format("loss or gradient is {}", std::isfinite(loss) ? norm : loss),
                  iteration_ + 1);
  ++iteration_;
  measure_speed();
  log_->add({{"iteration", iteration_},
             {"loss", loss},
             {"lr", lr},
             {"grad_norm", norm},
             {"images_per_second", images_per_second_},
             {"wait_share", wait_share_},
             {"peak_bytes", backend_of(task_.model().device()).memory().peak}});
  show_progress(loss, lr);
}

void Trainer::measure_speed() {
  const double seconds = std::max(window_.clock.seconds(), 1e-9);
  images_per_second_ =
      static_cast<double>((iteration_ - window_.iteration) * images_per_iteration()) / seconds;
  wait_share_ = (feed_->wait_seconds() - window_.waited) / seconds;
  if (next_window_.clock.seconds() > 15) {
    window_ = next_window_;
    next_window_ = {Stopwatch(), feed_->wait_seconds(), iteration_};
  }
}

void Trainer::show_progress(double loss, double lr) {
  const double left =
      static_cast<double>((options_.iterations - iteration_) * images_per_iteration()) /
      images_per_second_;
  const auto peak = static_cast<double>(backend_of(task_.model().device()).memory().peak);
  progress_.update(
      fmt::format("{}/{}  loss {:.4f}  lr {:.2e}  {:.1f} images/s  waiting {:.0f} %  memory {}  "
                  "left {}",
                  iteration_, options_.iterations, loss, lr, images_per_second_, 100 * wait_share_,
                  format_bytes(peak), format_duration(left)),
      iteration_ == options_.iterations);
}

bool Trainer::validate() {
  check_weights();
  std::optional<AveragedWeights> averaged;
  if (average_) averaged.emplace(*average_);
  const auto result = task_.validate([&](std::int64_t done, std::int64_t all) {
    progress_.update(
        fmt::format("{}/{}  validating {} of {}", iteration_, options_.iterations, done, all));
    return !stop_requested();
  });
  if (!result) return false;
  validated_ = iteration_;
  log_->add({{"iteration", iteration_}, {"validation", result->record}});
  const bool better = !(result->score <= best_);
  if (better) {
    best_ = std::isfinite(result->score) ? result->score : -1;
    best_iteration_ = iteration_;
    task_.save_weights(folder_.best());
  }
  averaged.reset();
  progress_.message(fmt::format("validation at {}: {}{}", iteration_, result->summary,
                                better ? "  (best so far)" : ""));
  save();
  write_report();
  window_ = next_window_ = {Stopwatch(), feed_->wait_seconds(), iteration_};
  return true;
}

// The state file holds all that a resumed run needs, weights too, so that a crash between the two
// files does no harm.
void Trainer::save() {
  check_weights();
  TrainState state;
  state.iteration = iteration_;
  state.seed = options_.seed;
  state.best = best_;
  state.config = task_.settings();
  append(state.tensors, "model.", state_dict(task_.model()));
  append(state.tensors, "optimizer.", optimizer_->state());
  if (average_) append(state.tensors, "average.", average_->state());
  state.extra = {{"validated", std::to_string(validated_)},
                 {"best_iteration", std::to_string(best_iteration_)}};
  save_train_state(folder_.state(), state);
  saved_ = iteration_;
  std::optional<AveragedWeights> averaged;
  if (average_) averaged.emplace(*average_);
  task_.save_weights(folder_.last());
}

void Trainer::write_report() {
  write_file_atomic(folder_.report(), task_.report(log_->records(), best_iteration_));
}

}  // namespace nextgrad
