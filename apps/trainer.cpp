#include "apps/trainer.h"

#include <algorithm>
#include <cmath>

#include "apps/run_report.h"
#include "apps/signals.h"
#include "data/file.h"
#include "nn/random.h"

namespace nextgrad {
namespace {

std::unique_ptr<Optimizer> make_optimizer(const TrainConfig& c, const SegNeXt& model) {
  const auto rules = segnext_rules(c.head_lr_multiplier);
  if (c.optimizer == "sgd") {
    SGDOptions options;
    options.momentum = c.momentum;
    options.weight_decay = c.weight_decay;
    return std::make_unique<SGD>(model.named_parameters(), options, rules);
  }
  AdamWOptions options;
  options.weight_decay = c.weight_decay;
  return std::make_unique<AdamW>(model.named_parameters(), options, rules);
}

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

TrainTransform train_transform(const TrainConfig& c) {
  TrainTransform t;
  t.crop_h = c.crop.height;
  t.crop_w = c.crop.width;
  t.base_short = std::min(c.base_size.height, c.base_size.width);
  t.base_long = std::max(c.base_size.height, c.base_size.width);
  t.scale_min = c.scale_min;
  t.scale_max = c.scale_max;
  t.flip = c.flip;
  t.photometric.enabled = c.photometric;
  return t;
}

EvalTransform eval_transform(const Size& size, const Size& base, const Normalize& normalize) {
  EvalTransform t;
  t.height = size.height;
  t.width = size.width;
  t.base_short = std::min(base.height, base.width);
  t.base_long = std::max(base.height, base.width);
  t.normalize = normalize;
  return t;
}

Trainer::Trainer(const TrainConfig& config, bool has_state) : config_(config) {
  if (config.scale_min > config.scale_max)
    fail_input("--scale-min {} is above --scale-max {}; exchange them", config.scale_min,
               config.scale_max);
  const Device device = Device::parse(config.device);
  set_num_threads(static_cast<int>(config.threads));
  DatasetConfig data;
  data.kind = config.data;
  data.root = config.data_root;
  train_set_ = make_dataset(data, "train");
  val_set_ = make_dataset(data, "val");
  info_.config = segnext_config(config.variant, train_set_->num_classes());
  info_.config.dropout = config.dropout;
  if (config.drop_path >= 0) info_.config.encoder.drop_path = config.drop_path;
  info_.config.encoder.recompute = config.recompute;
  info_.classes = train_set_->classes();
  info_.palette = train_set_->palette();
  model_ = std::make_unique<SegNeXt>(info_.config);
  init_parameters(*model_, static_cast<std::uint64_t>(config.seed));
  if (!has_state && !config.pretrained.empty())
    progress_.message("pretrained " + load_pretrained(*model_, config.pretrained, config.reset_classifier));
  model_->to(device);
  schedule_.kind = parse_schedule(config.schedule);
  schedule_.base_lr = config.lr;
  schedule_.iterations = config.iterations;
  schedule_.power = config.power;
  schedule_.warmup = config.warmup;
}

void Trainer::restore(const TrainState& state) {
  try {
    load_state_dict(*model_, select(state.tensors, "model."));
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

bool Trainer::run(const RunFolder& folder, const std::optional<TrainState>& state) {
  folder_ = folder;
  optimizer_ = make_optimizer(config_, *model_);
  if (config_.ema > 0) average_ = std::make_unique<WeightAverage>(*model_, config_.ema);
  if (state) restore(*state);
  log_ = std::make_unique<RunLog>(folder_.log(), iteration_, validated_);
  LoaderConfig stream;
  stream.batch = config_.batch;
  stream.seed = static_cast<std::uint64_t>(config_.seed);
  stream.start_iteration = iteration_ * config_.accumulate;
  stream.end_iteration = config_.iterations * config_.accumulate;
  stream.workers = static_cast<int>(config_.workers);
  loader_ = std::make_unique<Loader>(*train_set_, train_transform(config_), stream);
  model_->train();
  window_ = next_window_ = {Stopwatch(), 0, iteration_};
  // A stop between an iteration and its validation leaves the validation to the resumed run.
  const auto due = [&] {
    return iteration_ > validated_ &&
           (iteration_ >= config_.iterations ||
            (config_.val_every > 0 && iteration_ % config_.val_every == 0));
  };
  while (!stop_requested()) {
    if (due()) {
      if (!validate()) break;
      continue;
    }
    if (iteration_ >= config_.iterations) break;
    train_iteration();
    if (!due() && config_.checkpoint_every > 0 && iteration_ % config_.checkpoint_every == 0)
      save();
  }
  save();
  // A run that validated nothing since it was resumed has no pictures: the older report has.
  if (!pictures_.empty() || !std::filesystem::exists(folder_.report())) write_report();
  return iteration_ >= config_.iterations && validated_ == iteration_;
}

// One optimiser step over `accumulate` micro-batches; the mean loss.
double Trainer::step(double lr, double& grad_norm) {
  const auto parameters = model_->named_parameters();
  double loss = 0;
  model_->zero_grad();
  for (std::int64_t k = 0; k < config_.accumulate; ++k) {
    const Batch batch = loader_->next();
    const RandomScope random(static_cast<std::uint64_t>(config_.seed),
                             static_cast<std::uint64_t>(batch.iteration));
    CrossEntropyOptions options;
    options.label_smoothing = config_.label_smoothing;
    const Device device = model_->device();
    const Variable logits = model_->forward(Variable(batch.images.to(device)));
    const Variable value = model_->loss(logits, batch.labels.to(device), options);
    loss += value.item() / static_cast<double>(config_.accumulate);
    if (!std::isfinite(loss)) return loss;
    value.backward();
  }
  if (config_.accumulate > 1)
    scale_grads(parameters, 1.0 / static_cast<double>(config_.accumulate));
  grad_norm = clip_grad_norm(parameters, config_.clip_grad);
  if (!std::isfinite(grad_norm)) return grad_norm;  // before it spoils the weights
  optimizer_->step(lr);
  if (average_) average_->update();
  return loss;
}

void Trainer::fail_diverged(const std::string& what, std::int64_t iteration) const {
  fail("{} at iteration {}; {}; lower --lr or set --clip-grad", what, iteration,
       saved_ >= 0 ? fmt::format("{} of iteration {} is kept", folder_.state(), saved_)
                   : "no checkpoint was written yet");
}

void Trainer::check_weights() const {
  bool finite = true;
  for (const auto& p : model_->named_parameters())
    finite = finite && p.value.backend().all_finite(p.value.value());
  for (const auto& b : model_->named_buffers())
    if (is_floating(b.value->dtype())) finite = finite && b.value->backend().all_finite(*b.value);
  if (!finite) fail_diverged("a weight is not finite", iteration_);
}

void Trainer::train_iteration() {
  const double lr = schedule_.lr(iteration_);
  double grad_norm = 0;
  const double loss = step(lr, grad_norm);
  if (!std::isfinite(loss))
    fail_diverged(fmt::format("loss or gradient is {}", loss), iteration_ + 1);
  ++iteration_;
  const double seconds = std::max(window_.clock.seconds(), 1e-9);
  images_per_second_ =
      static_cast<double>((iteration_ - window_.iteration) * config_.batch * config_.accumulate) /
      seconds;
  wait_share_ = (loader_->wait_seconds() - window_.waited) / seconds;
  if (next_window_.clock.seconds() > 15) {
    window_ = next_window_;
    next_window_ = {Stopwatch(), loader_->wait_seconds(), iteration_};
  }
  const auto peak = backend_of(model_->device()).memory().peak;
  log_->add({{"iteration", iteration_},
             {"loss", loss},
             {"lr", lr},
             {"grad_norm", grad_norm},
             {"images_per_second", images_per_second_},
             {"wait_share", wait_share_},
             {"peak_bytes", peak}});
  show_progress(loss, lr);
}

void Trainer::show_progress(double loss, double lr) {
  const double left =
      static_cast<double>((config_.iterations - iteration_) * config_.batch * config_.accumulate) /
      images_per_second_;
  progress_.update(
      fmt::format("{}/{}  loss {:.4f}  lr {:.2e}  {:.1f} images/s  waiting {:.0f} %  memory {}  "
                  "left {}",
                  iteration_, config_.iterations, loss, lr, images_per_second_, 100 * wait_share_,
                  format_bytes(static_cast<double>(backend_of(model_->device()).memory().peak)),
                  format_duration(left)),
      iteration_ == config_.iterations);
}

bool Trainer::validate() {
  check_weights();
  std::optional<AveragedWeights> averaged;
  if (average_) averaged.emplace(*average_);
  std::set<std::int64_t> keep;
  const std::int64_t n = val_set_->size(), shown = std::min(config_.pictures, n);
  for (std::int64_t i = 0; i < shown; ++i) keep.insert(i * n / shown);
  const EvalResult result =
      evaluate(*model_, *val_set_, eval_transform(config_.val_size, config_.base_size, {}), keep,
               [&](std::int64_t done) {
                 progress_.update(fmt::format("{}/{}  validating {} of {}", iteration_,
                                              config_.iterations, done, n));
                 return !stop_requested();
               });
  if (result.stopped) return false;
  const Scores scores = result.matrix.scores();
  validated_ = iteration_;
  pictures_ = result.pictures;
  log_->add({{"iteration", iteration_}, {"validation", scores_json(result.matrix, info_.classes)}});
  const bool better = !(scores.mean_iou <= best_);
  if (better) {
    best_ = std::isfinite(scores.mean_iou) ? scores.mean_iou : -1;
    best_iteration_ = iteration_;
    save_weights(folder_.best(), *model_, info_);
  }
  averaged.reset();
  progress_.message(fmt::format("validation at {}: mIoU {:.2f}  mAcc {:.2f}  aAcc {:.2f}{}",
                                iteration_, 100 * scores.mean_iou, 100 * scores.mean_accuracy,
                                100 * scores.all_accuracy, better ? "  (best so far)" : ""));
  save();
  write_report();
  window_ = next_window_ = {Stopwatch(), loader_->wait_seconds(), iteration_};
  return true;
}

// The state file holds all that a resumed run needs, weights too, so that a crash between the two
// files does no harm.
void Trainer::save() {
  check_weights();
  TrainState state;
  state.iteration = iteration_;
  state.seed = static_cast<std::uint64_t>(config_.seed);
  state.best = best_;
  state.config = config_text(config_);
  append(state.tensors, "model.", state_dict(*model_));
  append(state.tensors, "optimizer.", optimizer_->state());
  if (average_) append(state.tensors, "average.", average_->state());
  state.extra = {{"validated", std::to_string(validated_)},
                 {"best_iteration", std::to_string(best_iteration_)}};
  save_train_state(folder_.state(), state);
  saved_ = iteration_;
  std::optional<AveragedWeights> averaged;
  if (average_) averaged.emplace(*average_);
  save_weights(folder_.last(), *model_, info_);
}

void Trainer::write_report() {
  write_file_atomic(folder_.report(), render_report(run_report(config_, info_, log_->records(),
                                                               pictures_, best_iteration_)));
}

}  // namespace nextgrad
