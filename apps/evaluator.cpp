#include "apps/evaluator.h"

#include "apps/eval_mode.h"
#include "tensor/error.h"

namespace nextgrad {

EvalResult evaluate(SegNeXt& model, const Dataset& dataset, const Protocol& protocol,
                    const std::set<std::int64_t>& keep,
                    const std::function<bool(std::int64_t)>& more, std::size_t ahead) {
  if (!dataset.has_labels())
    fail_input("this split has no published labels: it can be predicted, not scored");
  const EvalMode mode(model);
  ModelForward forward(model);
  EvalResult result{ConfusionMatrix(dataset.num_classes()), {}, false};
  const auto prepare = [&](std::int64_t i) {
    Sample sample = dataset.load(i);
    std::vector<Image> views = resize_views(protocol, sample.image);
    return Prepared{std::move(sample), std::move(views)};
  };
  Ahead<Prepared> pictures(dataset.size(), prepare, ahead);
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    auto [sample, views] = pictures.next();
    LabelMap prediction =
        predict_labels(forward, protocol, views, sample.label.height, sample.label.width);
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
