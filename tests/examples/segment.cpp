// SegNeXt, trained on the embedded scenes and applied to one of them: the libraries `training` and
// `inference` without the program.
#include <filesystem>

#include "apps/inference/checkpoint.h"
#include "apps/inference/inference.h"
#include "apps/training/trainer.h"
#include "data/images/palette.h"
#include "data/scores/metrics.h"

using namespace nextgrad;

int main(int argc, char** argv) {
  const RunFolder folder{argc > 1 ? argv[1] : "segment-run"};
  std::filesystem::create_directories(folder.path);
  TrainConfig config;  // as `segnext train` without options, but shorter
  config.iterations = 60;
  config.warmup = 10;
  config.crop = {64, 64};
  config.lr = 2e-3;
  config.val_every = 0;
  config.val_size = {64, 64};
  config.pictures = 0;
  if (!run_training(*segmentation_task(config, false), folder, std::nullopt)) return 1;

  const LoadedModel loaded = load_weights(folder.best(), "", {});
  const auto scenes = make_dataset({"scenes", ""}, "test");
  const Sample sample = scenes->load(0);
  const Protocol protocol = make_protocol({.size = {64, 64}}, loaded.info.normalize);
  ModelForward forward(*loaded.model);
  const NoGrad no_grad;
  const LabelMap map = predict_labels(forward, protocol, resize_views(protocol, sample.image),
                                      sample.image.height, sample.image.width);
  write_png((folder.path / "prediction.png").string(), colorize(map, loaded.info.palette));
  ConfusionMatrix matrix(scenes->num_classes());
  matrix.add(sample.label, map);
  fmt::print("{:.1f} % of the pixels of {} right\n", 100 * matrix.scores().all_accuracy,
             sample.name);
  return matrix.scores().all_accuracy > 0.3 ? 0 : 1;
}
