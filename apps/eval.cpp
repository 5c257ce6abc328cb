// segnext eval: scores of weights on a split of a data set.
#include <memory>

#include "apps/checkpoint.h"
#include "apps/commands.h"
#include "apps/evaluator.h"
#include "apps/progress.h"
#include "apps/trainer.h"

namespace nextgrad {
namespace {

struct EvalArguments {
  DatasetConfig data;
  std::string weights, variant, split = "val", device = "cpu", json;
  Size size, base_size;
  int threads = 0;
};

void run_eval(const EvalArguments& a) {
  check_output(a.json);
  set_num_threads(a.threads);
  LoadedModel loaded = load_weights(a.weights, a.variant, Device::parse(a.device));
  const auto dataset = make_dataset(a.data, a.split);
  check_classes(loaded.info, a.weights, *dataset, a.data.kind);
  const auto transform = eval_transform(a.size, a.base_size, loaded.info.normalize);
  EvalResult result{ConfusionMatrix(dataset->num_classes()), {}, false};
  const Stopwatch clock;
  {
    ProgressLine progress(stderr, 0);
    result = evaluate(*loaded.model, *dataset, transform, {}, [&](std::int64_t done) {
      progress.update(fmt::format("{} of {} images  {:.1f} images/s", done, dataset->size(),
                                  static_cast<double>(done) / clock.seconds()),
                      done == dataset->size());
      return true;
    });
  }
  fmt::print("{}", scores_table(result.matrix, loaded.info.classes));
  if (a.json.empty()) return;
  auto json = scores_json(result.matrix, loaded.info.classes);
  json["weights"] = a.weights;
  json["data"] = a.data.kind;
  json["split"] = a.split;
  json["images"] = dataset->size();
  json["seconds"] = clock.seconds();
  write_output(a.json, json.dump(2) + "\n");
}

}  // namespace

Command eval_command(CLI::App& root) {
  CLI::App* app = root.add_subcommand("eval", "Score weights on a data set");
  auto a = std::make_shared<EvalArguments>();
  app->add_option("--weights", a->weights,
                  "weights written by segnext train, or others' .pth or .safetensors")
      ->required();
  app->add_option("--variant", a->variant, "only for weights whose shapes do not say it");
  add_data(*app, a->data, a->split);
  add_size(*app, "--size", a->size,
           "resize images to WIDTHxHEIGHT for the network; 0 (default) = up to multiples of 32");
  add_size(*app, "--base-size", a->base_size, "fit images into this first; 0 (default) = as is");
  app->add_option("--json", a->json, "also write the scores and exact counts to this file");
  app->add_option("--threads", a->threads, "threads that compute; 0 = all cores")
      ->check(CLI::Range(0, 1024));
  app->add_option("--device", a->device, "where to compute")->capture_default_str();
  app->footer(
      "Scores are counted at the labels' own size.\nExample:\n"
      "  segnext eval --weights runs/camvid/best.safetensors --data camvid --data-root camvid \\\n"
      "      --split test --size 480x352 --json test.json");
  return {app, [a] { run_eval(*a); }};
}

}  // namespace nextgrad
