#include "apps/inference/evaluator.h"

#include "apps/inference/eval_mode.h"

namespace nextgrad {

std::string network_remedy(const Protocol& p) {
  if (p.window.height == 0)
    return fmt::format("; set {} 512x512: a sliding window needs a bounded amount",
                       p.window_option);
  return fmt::format("; set a smaller {} (it is {}){}", p.window_option, p.window.str(),
                     p.batch > 1 ? " or --batch 1" : "");
}

EvalResult evaluate(SegNeXt& model, const Dataset& dataset, const Protocol& protocol,
                    const std::set<std::int64_t>& keep,
                    const std::function<bool(std::int64_t)>& more, std::size_t ahead) {
  if (!dataset.has_labels())
    fail_input("this split has no published labels: it can be predicted, not scored");
  const EvalMode mode(model);
  ModelForward forward(model);
  EvalResult result{ConfusionMatrix(dataset.num_classes()), {}, false};
  const auto called = [&](std::int64_t i) {
    const std::string path = dataset.image_path(i);
    return path.empty() ? dataset.name(i) : path;
  };
  const auto prepare = [&](std::int64_t i) {
    return with_memory_for(called(i), kReadRemedy, [&] {
      Sample sample = dataset.load(i);
      std::vector<Image> views = resize_views(protocol, sample.image);
      return Prepared{std::move(sample), std::move(views)};
    });
  };
  Ahead<Prepared> pictures(dataset.size(), prepare, ahead);
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    auto [sample, views] = pictures.next();
    LabelMap prediction = with_memory_for(called(i), network_remedy(protocol), [&] {
      return predict_labels(forward, protocol, views, sample.label.height, sample.label.width);
    });
    result.matrix.add(sample.label, std::vector<std::int32_t>(prediction.values.begin(),
                                                              prediction.values.end()));
    if (keep.count(i) > 0) result.pictures.push_back({std::move(sample), std::move(prediction)});
    if (!more(i + 1)) {
      result.stopped = true;
      break;
    }
  }
  return result;
}

}  // namespace nextgrad
