#include "apps/evaluator.h"

namespace nextgrad {

LabelMap predict_labels(const SegNeXt& model, const EvalTransform& transform, const Image& image,
                        std::int64_t height, std::int64_t width) {
  const NoGrad no_grad;
  const Variable input(transform.apply(image).to(model.device()));
  const Tensor labels = model.predict(model.forward(input), height, width);
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
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    Sample sample = dataset.load(i);
    LabelMap prediction =
        predict_labels(model, transform, sample.image, sample.label.height, sample.label.width);
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
