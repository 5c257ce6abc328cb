// segnext pretrain: the encoder learns to tell classes of pictures apart, or is scored at it.
#include <memory>

#include "apps/commands/commands.h"
#include "apps/help.h"
#include "apps/inference/checkpoint.h"
#include "apps/inference/evaluator.h"
#include "apps/report/progress.h"
#include "apps/report/tables.h"
#include "apps/settings/same.h"
#include "apps/training/trainer.h"
#include "tensor/threads.h"

namespace nextgrad {
namespace {

struct PretrainArguments : RunOptions {
  bool eval_only = false, any_classes = false;
  std::string weights, json;
};

void run_pretrain(PretrainArguments& a) {
  PretrainConfig config;
  auto given = a.given;
  if (given.contains("epochs")) {
    if (given.contains("iterations")) fail_input("--epochs and --iterations exclude each other");
    given["iterations"] = "0";  // those of a file
  }
  const auto state = a.open_for_all();
  a.read(settings_of(config), given, state);
  make_absolute(config.data_root);
  make_absolute(config.pretrained);
  run_training(*classification_task(config, state.has_value()), a, state);
}

void check_classes(const LoadedClassifier& loaded, const std::string& weights,
                   const ClassDataset& data, bool any) {
  if (loaded.info.num_classes != data.num_classes())
    fail_input(
        "{}: tells {} classes apart, the data set has {}; choose the --data-root it was "
        "trained on",
        weights, loaded.info.num_classes, data.num_classes());
  if (any || loaded.info.classes.empty()) return;
  if (const auto c = first_other_class(loaded.info.classes, data.classes()))
    fail_input(
        "{}: its class {} is {}, the data set's is {}; choose the --data-root it was "
        "trained on, or add --any-classes if only the names differ",
        weights, *c, loaded.info.classes[*c], data.classes()[*c]);
}

void run_eval_only(const PretrainArguments& a) {
  check_output(a.json);
  PretrainConfig config;
  a.read(settings_of(config), a.given, std::nullopt);
  const Placement placement{config.device, config.precision, static_cast<int>(config.threads),
                            config.wait_limit};
  take_place(placement);
  const auto loaded =
      load_classifier(a.weights, a.given.contains("variant") ? config.variant : "", placement);
  const auto data = open_split(config, "val");
  check_classes(loaded, a.weights, *data, a.any_classes);
  require_same(program_line() + weights_line(*loaded.model) + line_of("val", *data), world());
  const std::int64_t size = a.given.contains("size") ? config.transform.size : loaded.info.size;
  const Stopwatch clock;
  ProgressLine progress(stderr, 0);
  const ClassEvalResult result = evaluate_classes(
      *loaded.model, *data, class_eval_transform(config, size, loaded.info.normalize),
      share_of_batch(config.batch, world()), 0, [&](std::int64_t done, std::int64_t all) {
        const double rate = static_cast<double>(done) / clock.seconds();
        progress.update(fmt::format("{} of {} images  {:.1f} images/s  left {}", done, all, rate,
                                    format_duration(static_cast<double>(all - done) / rate)),
                        done == all);
        return true;
      });
  progress.finish();
  fmt::print("{}  ({} images of {} classes at {}x{})\n", summary_of(result.scores),
             result.scores.total(), loaded.info.num_classes, size, size);
  auto json = scores_json(result.scores);
  json["weights"] = a.weights;
  json["classes"] = data->classes();
  json["seconds"] = clock.seconds();
  write_json(a.json, json);
}

void run(PretrainArguments& a) {
  if (!a.eval_only) {
    if (!a.weights.empty() || !a.json.empty())
      fail_input("--weights and --json belong to --eval-only; to start from weights: --pretrained");
    return run_pretrain(a);
  }
  if (a.weights.empty()) fail_input("--eval-only wants the --weights to score");
  run_eval_only(a);
}

}  // namespace

void pretrain_command(Command root) {
  const Command app =
      root.subcommand("pretrain", "Pre-train the encoder on pictures of classes", help::pretrain);
  auto a = std::make_shared<PretrainArguments>();
  PretrainConfig defaults;
  a->add_to(app, settings_of(defaults));
  const Option only = app.flag("--eval-only", a->eval_only, "train nothing: score --weights");
  only.excludes(app.named("--resume")).excludes(app.named("--out"));
  app.option("--weights", a->weights, "with --eval-only: weights of an encoder's classifier");
  app.flag("--any-classes", a->any_classes, "with --eval-only: whatever the classes are called");
  app.option("--json", a->json, "with --eval-only: also write the scores to this file");
  app.does([a] { run(*a); });
}

}  // namespace nextgrad
