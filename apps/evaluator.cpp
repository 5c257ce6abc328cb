#include "apps/evaluator.h"

#include "apps/pipeline.h"

namespace nextgrad {

LabelMap predict_labels(const SegNeXt& model, const Tensor& input, std::int64_t height,
                        std::int64_t width) {
  const NoGrad no_grad;
  const Variable x(input.to(model.device()));
  const Tensor labels = model.predict(model.forward(x), height, width);
  return {height, width, labels.to_vector<std::uint8_t>()};
}

EvalResult evaluate(SegNeXt& model, const Dataset& dataset, const EvalTransform& transform,
                    const std::set<std::int64_t>& keep,
                    const std::function<bool(std::int64_t)>& more) {
  struct EvalMode {  // also when an image throws
    explicit EvalMode(SegNeXt& m) : model(m), before(m.training()) { model.eval(); }
    ~EvalMode() { model.train(before); }
    SegNeXt& model;
    bool before;
  } mode(model);
  EvalResult result{ConfusionMatrix(dataset.num_classes()), {}, false};
  Ahead<Prepared> pictures(dataset.size(), [&](std::int64_t i) {
    Sample sample = dataset.load(i);
    Tensor input = transform.apply(sample.image);
    return Prepared{std::move(sample), std::move(input)};
  });
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    auto [sample, input] = pictures.next();
    LabelMap prediction = predict_labels(model, input, sample.label.height, sample.label.width);
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
