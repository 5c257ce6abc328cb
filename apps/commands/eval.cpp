// segnext eval: scores of weights on a split of a data set.
#include <memory>

#include "apps/commands/commands.h"
#include "apps/help.h"
#include "apps/inference/checkpoint.h"
#include "apps/inference/evaluator.h"
#include "apps/report/progress.h"
#include "apps/report/tables.h"
#include "apps/settings/same.h"
#include "tensor/threads.h"

namespace nextgrad {
namespace {

struct EvalArguments {
  DatasetConfig data;
  std::string weights, variant, split = "val", json;
  bool any_classes = false;
  ProtocolOptions protocol;
  Placement placement;
};

void run_eval(Command app, const EvalArguments& a) {
  check_output(a.json);
  take_place(a.placement);
  LoadedModel loaded = load_weights(a.weights, a.variant, a.placement);
  const auto dataset = make_dataset(a.data, a.split);
  match_classes(loaded.info, a.weights, *dataset, a.data.kind, a.any_classes);
  const Protocol protocol = protocol_of(app, a.protocol, loaded.info.normalize);
  require_same(program_line() + weights_line(*loaded.model) + line_of(a.split, *dataset), world());
  const Stopwatch clock;
  ProgressLine progress(stderr, 0);
  const EvalResult result = evaluate(
      *loaded.model, *dataset, protocol, {},
      [&](std::int64_t done, std::int64_t all) {
        progress.update(fmt::format("{} of {} images  {:.1f} images/s", done, all,
                                    static_cast<double>(done) / clock.seconds()),
                        done == all);
        return true;
      },
      world(), static_cast<std::size_t>(a.protocol.workers));
  progress.finish();
  if (result.matrix.total() == 0)
    fail_input(
        "{} {}: no pixel of its labels counts, all are ignored ({}); look with segnext data "
        "inspect",
        a.data.kind, a.split, kIgnoreLabel);
  fmt::print("{}", scores_table(result.matrix, loaded.info.classes));
  auto json = scores_json(result.matrix, loaded.info.classes);
  json["weights"] = a.weights;
  json["data"] = a.data.kind;
  json["split"] = a.split;
  json["images"] = dataset->size();
  json["seconds"] = clock.seconds();
  write_json(a.json, json);
}

}  // namespace

void eval_command(Command root) {
  const Command app = root.subcommand("eval", "Score weights on a data set", help::eval);
  auto a = std::make_shared<EvalArguments>();
  add_weights(app, a->weights, a->variant);
  add_data(app, a->data, a->split);
  add_protocol(app, a->protocol);
  app.flag("--any-classes", a->any_classes,
           "score even if the weights name other classes, or in another order");
  app.option("--json", a->json, "also write the scores and exact counts to this file");
  add_placement(app, a->placement);
  app.does([app, a] {
    use_preset_data(app, a->protocol.preset, a->data);
    run_eval(app, *a);
  });
}

}  // namespace nextgrad
