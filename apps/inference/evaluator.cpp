#include "apps/inference/evaluator.h"

#include <algorithm>
#include <iterator>

#include "tensor/ops.h"

namespace nextgrad {
namespace {

// A module in evaluation mode; back in the mode it was in when this goes, also when something
// throws.
class EvalMode {
 public:
  explicit EvalMode(Module& module) : module_(module), before_(module.training()) { module.eval(); }
  ~EvalMode() { module_.train(before_); }
  EvalMode(const EvalMode&) = delete;
  EvalMode& operator=(const EvalMode&) = delete;

 private:
  Module& module_;
  bool before_;
};

// Calls judge(first, what prepare(first, last) has made) for n samples, `batch` at a time; they are
// prepared ahead, by other threads. False if `more` stopped it.
template <class Prepare, class Judge>
bool evaluate_all(Module& model, std::int64_t n, std::int64_t batch, const Prepare& prepare,
                  const Judge& judge, const More& more, std::size_t ahead) {
  const EvalMode mode(model);
  const NoGrad no_grad;
  Ahead<decltype(prepare(n, n))> batches(
      (n + batch - 1) / batch,
      [&](std::int64_t b) { return prepare(b * batch, std::min(n, (b + 1) * batch)); }, ahead);
  for (std::int64_t first = 0; first < n; first += batch) {
    judge(first, batches.next());
    if (!more(std::min(n, first + batch), n)) return false;
  }
  return true;
}

}  // namespace

std::string network_remedy(const Protocol& p) {
  if (p.window.height == 0)
    return fmt::format("; set {} 512x512: a sliding window needs a bounded amount",
                       p.window_option);
  return fmt::format("; set a smaller {} (it is {}){}", p.window_option, p.window.str(),
                     p.batch > 1 ? " or --batch 1" : "");
}

EvalResult evaluate(SegNeXt& model, const Dataset& dataset, const Protocol& protocol,
                    const std::set<std::int64_t>& keep, const More& more, std::size_t ahead) {
  if (!dataset.has_labels())
    fail_input("this split has no published labels: it can be predicted, not scored");
  ModelForward forward(model);
  EvalResult result{ConfusionMatrix(dataset.num_classes()), {}, false};
  const auto prepare = [&](std::int64_t i, std::int64_t) {
    return with_memory_for(dataset.called(i), kReadRemedy, [&] {
      Sample sample = dataset.load(i);
      std::vector<Image> views = resize_views(protocol, sample.image);
      return Prepared{std::move(sample), std::move(views)};
    });
  };
  const auto judge = [&](std::int64_t i, Prepared picture) {
    Sample& sample = picture.sample;
    LabelMap prediction = with_memory_for(dataset.called(i), network_remedy(protocol), [&] {
      return predict_labels(forward, protocol, picture.views, sample.label.height,
                            sample.label.width);
    });
    result.matrix.add(sample.label, prediction);
    if (keep.contains(i)) result.pictures.push_back({std::move(sample), std::move(prediction)});
  };
  result.stopped = !evaluate_all(model, dataset.size(), 1, prepare, judge, more, ahead);
  return result;
}

ClassEvalResult evaluate_classes(MSCANClassifier& model, const ClassDataset& dataset,
                                 const ClassEvalTransform& transform, std::int64_t batch,
                                 std::int64_t examples, const More& more) {
  struct Pictures {
    Tensor images;  // f32 [n,size,size,3], on the CPU
    std::vector<int> labels;
  };
  const std::int64_t side = transform.size, values = side * side * 3;
  const auto prepare = [&](std::int64_t first, std::int64_t last) {
    std::vector<float> images(static_cast<std::size_t>((last - first) * values));
    Pictures pictures;
    for (std::int64_t i = first; i < last; ++i) {
      const auto place = std::span(images).subspan(static_cast<std::size_t>((i - first) * values),
                                                   static_cast<std::size_t>(values));
      with_memory_for(dataset.called(i), kReadRemedy,
                      [&] { transform.apply(dataset.load_image(i), place); });
      pictures.labels.push_back(dataset.load_label(i));
    }
    pictures.images = Tensor::from(images, {last - first, side, side, 3});
    return pictures;
  };
  ClassEvalResult result{ClassScores(dataset.num_classes()), {}, false};
  // Of mistaken and of recognised pictures: classes, spread evenly, that still want one; examples.
  std::set<int> wanted[2];
  std::vector<ClassExample> found[2];
  const std::int64_t classes = dataset.num_classes(), shown = std::min(examples, classes);
  for (std::int64_t i = 0; i < shown; ++i)
    for (auto& some : wanted) some.insert(static_cast<int>(i * classes / shown));
  const auto judge = [&](std::int64_t first, const Pictures& pictures) {
    const Tensor logits = with_memory_for(
        dataset.called(first) + " and those after it", "; lower --batch or --size", [&] {
          return model.forward(Variable(pictures.images.to(model.device()))).value().to(Device{});
        });
    const std::vector<std::int32_t> guesses = result.scores.add(logits, pictures.labels);
    const auto shares = softmax(logits).to_vector<float>();
    for (std::size_t i = 0; i < guesses.size(); ++i) {
      const int label = pictures.labels[i], guess = guesses[i];
      const bool right = guess == label;
      if (wanted[right].erase(label) == 0) continue;
      const std::int64_t at = first + static_cast<std::int64_t>(i);
      const std::size_t share =
          i * static_cast<std::size_t>(classes) + static_cast<std::size_t>(guess);
      found[right].push_back({dataset.name(at), transform.crop(dataset.load_image(at)), label,
                              guess, double{shares[share]}});
    }
  };
  result.stopped =
      !evaluate_all(model, dataset.size(), batch, prepare, judge, more, kPipelineDepth);
  result.examples = std::move(found[true]);
  std::ranges::move(found[false], std::back_inserter(result.examples));
  return result;
}

}  // namespace nextgrad
