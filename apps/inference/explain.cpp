#include "apps/inference/explain.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "autograd/arithmetic.h"
#include "nn/observer.h"
#include "tensor/ops.h"

namespace nextgrad {
namespace {

constexpr std::size_t kMostBases = 16, kMostClasses = 4;

// Of a tensor [1,h,w,1].
HeatMap heat_map(const Tensor& t) {
  return {t.dim(1), t.dim(2), t.to(DType::f32).contiguous().to_vector<float>()};
}
Tensor length(const Tensor& t) {  // over the channels
  return sqrt(mean(square(t.to(parameter_dtype(t.dtype())).contiguous()), {3}));
}

// What a forward pass shows in passing.
struct Seen {
  std::vector<Tensor> stages;
  Tensor logits;
  std::vector<HeatMap> attention;
  Tensor coefficients;  // of the NMF, [1,N,R]
};
Seen look(const Segmenter& model, const Tensor& image) {
  const NoGrad no_grad;
  Seen seen;
  Tensor attention;
  const Observer observer([&](const Module&, std::string_view what, const Variable& value) {
    (what == "attention" ? attention : seen.coefficients) = value.value();
  });
  std::vector<Variable> stages;
  for (std::size_t i = 0; i < 4; ++i) {
    attention = {};
    stages.push_back(model.encoder().stage(i, i == 0 ? Variable(image) : stages.back()));
    seen.stages.push_back(stages.back().value());
    if (attention.defined()) seen.attention.push_back(heat_map(length(attention)));
  }
  attention = {};
  seen.logits = model.decoder().logits(stages).value().to(DType::f32).contiguous();
  return seen;
}

// The NMF's coefficients as maps of the size it works at.
std::vector<Explanation::Basis> bases_of(const Tensor& coefficients, std::int64_t h,
                                         std::int64_t w) {
  std::vector<Explanation::Basis> bases;
  if (!coefficients.defined() || coefficients.dim(0) != 1 || coefficients.dim(1) != h * w)
    return {};
  const Tensor c = sqrt(square(coefficients));  // concepts may be negative
  const double all = std::max(sum(c, {0, 1, 2}).item(), 1e-30);
  for (std::int64_t r = 0; r < c.dim(2); ++r) {
    const Tensor one = c.slice(2, r, r + 1).contiguous().reshape({1, h, w, 1});
    bases.push_back({sum(one, {0, 1, 2, 3}).item() / all, heat_map(one)});
  }
  std::ranges::stable_sort(bases, std::greater{}, &Explanation::Basis::share);
  return bases;
}

// 1 where the class is predicted (or everywhere), in a tensor of the logits' shape.
Tensor seed_of(const std::vector<std::int64_t>& predicted, int label, bool everywhere,
               const Tensor& logits) {
  const auto classes = static_cast<std::size_t>(logits.dim(3));
  std::vector<float> seed(predicted.size() * classes);
  for (std::size_t i = 0; i < predicted.size(); ++i)
    if (everywhere || predicted[i] == label)
      seed[i * classes + static_cast<std::size_t>(label)] = 1;
  return Tensor::from(seed, logits.shape(), logits.device());
}

Explanation::Cam cam_of(Segmenter& model, const Seen& seen,
                        const std::vector<std::int64_t>& predicted, int label, int stage) {
  const bool there = std::ranges::find(predicted, label) != predicted.end();
  std::vector<Variable> stages;
  for (const Tensor& t : seen.stages) stages.emplace_back(t, true);
  const Variable logits = model.decoder().logits(stages);
  logits.backward(seed_of(predicted, label, !there, seen.logits).to(logits.dtype()));
  model.zero_grad();
  const auto k = static_cast<std::size_t>(stage - 1);
  const Tensor& gradient = stages[k].grad();
  const DType dtype = parameter_dtype(gradient.dtype());
  const Tensor weights = mean(gradient.to(dtype).contiguous(), {1, 2});
  const Tensor map = sum(seen.stages[k].to(dtype) * weights, {3});
  return {label, there, heat_map(apply(Unary::relu, map))};
}

std::vector<int> most_frequent(const std::vector<std::int64_t>& predicted, int classes) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(classes));
  for (const std::int64_t p : predicted) ++counts[static_cast<std::size_t>(p)];
  std::vector<int> labels(counts.size());
  std::iota(labels.begin(), labels.end(), 0);
  const auto count = [&](int label) { return counts[static_cast<std::size_t>(label)]; };
  std::ranges::stable_sort(labels, std::greater{}, count);
  std::erase_if(labels, [&](int label) { return count(label) == 0; });
  labels.resize(std::min(labels.size(), kMostClasses));
  return labels;
}

// The distance within which `share` of the map lies.
double radius_of(const HeatMap& map, std::int64_t x, std::int64_t y, double share) {
  std::vector<std::pair<double, double>> by_distance;  // (distance, value)
  double all = 0;
  for (std::int64_t i = 0; i < map.height * map.width; ++i) {
    const double value = map.values[static_cast<std::size_t>(i)];
    by_distance.emplace_back(std::hypot(i % map.width - x, i / map.width - y), value);
    all += value;
  }
  std::sort(by_distance.begin(), by_distance.end());
  double sum = 0;
  for (const auto& [distance, value] : by_distance)
    if ((sum += value) >= share * all) return distance;
  return 0;
}

Explanation::Field field_of(Segmenter& model, const Tensor& image,
                            const std::vector<std::int64_t>& predicted, const Tensor& logits,
                            const ExplainOptions& o) {
  const auto at = [](double share, std::int64_t extent) {
    return std::clamp<std::int64_t>(static_cast<std::int64_t>(share * static_cast<double>(extent)),
                                    0, extent - 1);
  };
  const std::int64_t h = logits.dim(1), w = logits.dim(2);
  const auto pixel = static_cast<std::size_t>(at(o.y, h) * w + at(o.x, w));
  Explanation::Field field;
  field.label = static_cast<int>(predicted[pixel]);
  field.x = at(o.x, image.dim(2));
  field.y = at(o.y, image.dim(1));
  std::vector<float> seed(static_cast<std::size_t>(logits.numel()));
  seed[pixel * static_cast<std::size_t>(logits.dim(3)) + static_cast<std::size_t>(field.label)] = 1;
  const Variable leaf(image, true);
  const Variable out = model(leaf);
  out.backward(Tensor::from(seed, logits.shape(), logits.device()).to(out.dtype()));
  model.zero_grad();
  field.gradient = heat_map(sum(sqrt(square(leaf.grad())), {3}));
  field.half = radius_of(field.gradient, field.x, field.y, 0.5);
  field.most = radius_of(field.gradient, field.x, field.y, 0.95);
  return field;
}

}  // namespace

void check_explain(const ExplainOptions& options, const ModelConfig& model) {
  if (std::ranges::find(model.decoder.stages, options.stage) == model.decoder.stages.end())
    fail_input("--explain-stage {}: the decoder does not read it; it reads {}", options.stage,
               fmt::join(model.decoder.stages, ", "));
  for (const int label : options.classes)
    if (label < 0 || label >= model.num_classes)
      fail_input("--explain-class {}: there are {} classes", label, model.num_classes);
}

Explanation explain(Segmenter& model, const Image& picture, const Normalize& normalize,
                    const ExplainOptions& options) {
  check_explain(options, model.config());
  const Rectangle all[] = {{0, 0, picture.height, picture.width}};
  const Tensor image =
      EvalTransform{.normalize = normalize}.normalized(picture, all).to(model.device());
  const Seen seen = look(model, image);
  const auto predicted = seen.logits.backend().argmax(seen.logits, 3).to_vector<std::int64_t>();
  Explanation e;
  e.attention = seen.attention;
  e.bases = bases_of(seen.coefficients, seen.logits.dim(1), seen.logits.dim(2));
  e.bases_in_all = static_cast<int>(e.bases.size());
  e.bases.resize(std::min(e.bases.size(), kMostBases));
  e.stage = options.stage;
  for (const int label : options.classes.empty()
                             ? most_frequent(predicted, model.config().num_classes)
                             : options.classes)
    e.cams.push_back(cam_of(model, seen, predicted, label, options.stage));
  e.field = field_of(model, image, predicted, seen.logits, options);
  return e;
}

}  // namespace nextgrad
