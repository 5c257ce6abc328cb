#include "apps/inference/evaluator.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

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

// Pieces of work, of which each rank does its own: those that root must do, and every size-th of
// the others.
std::vector<std::int64_t> own_pieces(std::int64_t n, const std::set<std::int64_t>& of_root,
                                     const Communicator& everyone) {
  std::vector<std::int64_t> own;
  std::int64_t next = 0;
  for (std::int64_t i = 0; i < n; ++i)
    if (of_root.contains(i) ? everyone.is_root() : next++ % everyone.size() == everyone.rank())
      own.push_back(i);
  return own;
}

// Calls judge(first, what prepare(first, last) has made) for this rank's share of n samples,
// `batch` at a time; they are prepared ahead, by other threads. True if it was stopped on any rank.
template <class Prepare, class Judge>
bool evaluate_all(Module& model, std::int64_t n, std::int64_t batch,
                  const std::set<std::int64_t>& of_root, const Prepare& prepare, const Judge& judge,
                  const More& more, Communicator& everyone, std::size_t ahead) {
  const EvalMode mode(model);
  const NoGrad no_grad;
  const auto own = own_pieces((n + batch - 1) / batch, of_root, everyone);
  const auto first_of = [&](std::int64_t k) { return own[static_cast<std::size_t>(k)] * batch; };
  const auto count = std::ssize(own);
  Ahead<decltype(prepare(n, n))> batches(
      count, [&](std::int64_t k) { return prepare(first_of(k), std::min(n, first_of(k) + batch)); },
      ahead);
  Tensor stopped = Tensor::zeros({1}, DType::i32);
  for (std::int64_t k = 0; k < count && stopped.item() == 0; ++k) {
    everyone.check_peers();
    judge(first_of(k), batches.next());
    const bool last = k + 1 == count;
    if (!more(last ? n : std::min(n, (k + 1) * batch * everyone.size()), n)) stopped.fill_(1);
  }
  everyone.sum(stopped);
  return stopped.item() != 0;
}

// The first picture recognised and the first mistaken of some classes, spread evenly.
class Examples {
 public:
  struct Seen {
    double index, label, guess, share;  // of the guess, by softmax
  };
  Examples(std::int64_t classes, std::int64_t examples) {
    const std::int64_t shown = std::min(examples, classes);
    for (std::int64_t i = 0; i < shown; ++i)
      for (auto& some : first_) some[static_cast<int>(i * classes / shown)] = kNone;
  }
  void see(std::int64_t index, int label, int guess, double share) {
    const auto at = first_[guess != label].find(label);
    if (at != first_[guess != label].end() && static_cast<double>(index) < at->second.index)
      at->second = {static_cast<double>(index), static_cast<double>(label),
                    static_cast<double>(guess), share};
  }
  // Of all ranks, first those that were right, each by their order in the data set.
  std::vector<Seen> first_of_all(Communicator& everyone) const {
    std::vector<double> own;
    for (const auto& some : first_)
      for (const auto& [label, e] : some)
        for (const double v : {e.index, e.label, e.guess, e.share}) own.push_back(v);
    const auto all = everyone.gather(Tensor::from(own, {std::ssize(own)})).to_vector<double>();
    std::vector<Seen> firsts;
    for (std::size_t at = 0; at < own.size(); at += 4) {
      Seen first = kNone;
      for (std::size_t r = at; r < all.size(); r += own.size())
        if (all[r] < first.index) first = {all[r], all[r + 1], all[r + 2], all[r + 3]};
      if (first.index < kNone.index) firsts.push_back(first);
    }
    std::ranges::sort(firsts, {},
                      [](const Seen& e) { return std::pair(e.guess != e.label, e.index); });
    return firsts;
  }

 private:
  static constexpr Seen kNone{std::numeric_limits<double>::infinity(), 0, 0, 0};
  std::map<int, Seen> first_[2];  // by their class; recognised, mistaken
};

}  // namespace

std::string network_remedy(const Protocol& p) {
  if (p.window.height == 0)
    return fmt::format("; set {} 512x512: a sliding window needs a bounded amount",
                       p.window_option);
  return fmt::format("; set a smaller {} (it is {}){}", p.window_option, p.window.str(),
                     p.batch > 1 ? " or --batch 1" : "");
}

EvalResult evaluate(Segmenter& model, const Dataset& dataset, const Protocol& protocol,
                    const std::set<std::int64_t>& keep, const More& more, Communicator& everyone,
                    std::size_t ahead) {
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
  result.stopped =
      evaluate_all(model, dataset.size(), 1, keep, prepare, judge, more, everyone, ahead);
  result.matrix.add_all(everyone);
  return result;
}

ClassEvalResult evaluate_classes(Classifier& model, const ClassDataset& dataset,
                                 const ClassEvalTransform& transform, std::int64_t batch,
                                 std::int64_t examples, const More& more, Communicator& everyone) {
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
  Examples found(dataset.num_classes(), examples);
  const auto judge = [&](std::int64_t first, const Pictures& pictures) {
    const Tensor logits = with_memory_for(
        dataset.called(first) + " and those after it", "; lower --batch or --size", [&] {
          return model.forward(Variable(pictures.images.to(model.device()))).value().to(Device{});
        });
    const std::vector<std::int32_t> guesses = result.scores.add(logits, pictures.labels);
    const auto shares = softmax(logits).to_vector<float>();
    for (std::size_t i = 0; i < guesses.size(); ++i) {
      const std::size_t share = i * static_cast<std::size_t>(dataset.num_classes()) +
                                static_cast<std::size_t>(guesses[i]);
      found.see(first + static_cast<std::int64_t>(i), pictures.labels[i], guesses[i],
                double{shares[share]});
    }
  };
  result.stopped = evaluate_all(model, dataset.size(), batch, {}, prepare, judge, more, everyone,
                                kPipelineDepth);
  result.scores.add_all(everyone);
  for (const Examples::Seen& e : found.first_of_all(everyone)) {
    if (!everyone.is_root()) break;
    const auto at = static_cast<std::int64_t>(e.index);
    with_memory_for(dataset.called(at), kReadRemedy, [&] {
      result.examples.push_back({dataset.name(at), transform.crop(dataset.load_image(at)),
                                 static_cast<int>(e.label), static_cast<int>(e.guess), e.share});
    });
  }
  return result;
}

}  // namespace nextgrad
