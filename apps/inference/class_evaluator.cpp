#include "apps/inference/class_evaluator.h"

#include <algorithm>
#include <set>

#include "apps/inference/eval_mode.h"
#include "apps/inference/evaluator.h"
#include "apps/inference/pipeline.h"
#include "autograd/reduce.h"

namespace nextgrad {
namespace {

struct PreparedBatch {
  Tensor images;  // f32 [n,size,size,3], on the CPU
  std::vector<int> labels;
};

PreparedBatch prepare(const ClassDataset& dataset, const ClassEvalTransform& transform,
                      std::int64_t begin, std::int64_t end) {
  const std::int64_t sample = transform.size * transform.size * 3;
  std::vector<float> images(static_cast<std::size_t>((end - begin) * sample));
  PreparedBatch batch;
  for (std::int64_t i = begin; i < end; ++i) {
    const auto place = std::span(images).subspan(static_cast<std::size_t>((i - begin) * sample),
                                                 static_cast<std::size_t>(sample));
    with_memory_for(dataset.name(i), kReadRemedy, [&] { transform.apply(dataset.load(i), place); });
    batch.labels.push_back(dataset.label(i));
  }
  batch.images = Tensor::from(images, {end - begin, transform.size, transform.size, 3});
  return batch;
}

// Chooses the examples: of classes spread evenly, the first right and the first wrong picture.
class Examples {
 public:
  Examples(const ClassDataset& dataset, const ClassEvalTransform& transform, std::int64_t most)
      : dataset_(dataset), transform_(transform) {
    const std::int64_t classes = dataset.num_classes(), shown = std::min(most, classes);
    for (std::int64_t i = 0; i < shown; ++i) {
      right_.insert(static_cast<int>(i * classes / shown));
      wrong_.insert(static_cast<int>(i * classes / shown));
    }
  }

  void look_at(const Tensor& logits, const std::vector<int>& labels, std::int64_t first,
               ClassEvalResult& result) {
    const auto shares = softmax(Variable(logits)).value().to_vector<float>();
    const auto width = static_cast<std::size_t>(dataset_.num_classes());
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const auto row = std::span(shares).subspan(i * width, width);
      const auto best = std::max_element(row.begin(), row.end());
      const int prediction = static_cast<int>(best - row.begin());
      const bool right = prediction == labels[i];
      if ((right ? right_ : wrong_).erase(labels[i]) == 0) continue;
      const std::int64_t index = first + static_cast<std::int64_t>(i);
      (right ? result.right : result.wrong)
          .push_back({dataset_.name(index), transform_.crop(dataset_.load(index)), labels[i],
                      prediction, static_cast<double>(*best)});
    }
  }

 private:
  const ClassDataset& dataset_;
  const ClassEvalTransform& transform_;
  std::set<int> right_, wrong_;  // classes still without
};

}  // namespace

ClassEvalResult evaluate_classes(MSCANClassifier& model, const ClassDataset& dataset,
                                 const ClassEvalTransform& transform, std::int64_t batch,
                                 std::int64_t examples,
                                 const std::function<bool(std::int64_t)>& more) {
  const EvalMode mode(model);
  const NoGrad no_grad;
  ClassEvalResult result{ClassScores(dataset.num_classes()), {}, {}, false};
  Examples chosen(dataset, transform, examples);
  const std::int64_t n = dataset.size();
  Ahead<PreparedBatch> batches((n + batch - 1) / batch, [&](std::int64_t b) {
    return prepare(dataset, transform, b * batch, std::min(n, (b + 1) * batch));
  });
  for (std::int64_t done = 0; done < n && !result.stopped;) {
    const auto [images, labels] = batches.next();
    const Tensor logits = with_memory_for(
        fmt::format("{} and those after it", dataset.name(done)), "; lower --batch or --size",
        [&] { return model.forward(Variable(images.to(model.device()))).value().to(Device{}); });
    result.scores.add(logits, labels);
    chosen.look_at(logits, labels, done, result);
    done += static_cast<std::int64_t>(labels.size());
    result.stopped = !more(done);
  }
  return result;
}

}  // namespace nextgrad
