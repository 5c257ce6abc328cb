// Test protocols against the plain composition at full size: every logit of every view upsampled,
// windows summed and counted, probabilities averaged.
#include <doctest/doctest.h>

#include "apps/inference/inference.h"
#include "data/datasets/patches.h"
#include "nn/init.h"
#include "tensor/backend.h"
#include "tests/apps/little_data.h"
#include "tests/compare.h"

using namespace nextgrad;

namespace {

constexpr int kClasses = 5;

// A model whose classes differ from place to place.
std::unique_ptr<Segmenter> lively_model() {
  auto model = std::make_unique<Segmenter>(model_config("nano", kClasses));
  init_parameters(*model, 3);
  for (const auto& p : model->named_parameters())
    if (p.name.find("conv_seg.weight") != std::string::npos)
      Tensor(p.value.value()).copy_(backend_of({}).random_normal(p.value.shape(), DType::f32, {7}));
  model->eval();
  return model;
}

// Logits of a picture [H,W,3] at the picture's own size: [H][W][classes].
std::vector<double> logits_of(const Segmenter& model, const Image& picture, const Normalize& n) {
  const NoGrad no_grad;
  std::vector<float> values;
  for (std::size_t i = 0; i < picture.pixels.size(); ++i)
    values.push_back((static_cast<float>(picture.pixels[i]) - n.mean[i % 3]) / n.deviation[i % 3]);
  const Variable x(Tensor::from(values, {1, picture.height, picture.width, 3}));
  const Tensor y = model.forward(x).value();
  return y.backend().resize(y, picture.height, picture.width, Resize::bilinear).to_vector<double>();
}

Image cut(const Image& image, const Rectangle& r) {
  Image part{r.height, r.width, {}};
  for (std::int64_t y = 0; y < r.height; ++y) {
    const auto from = image.pixels.begin() + ((r.top + y) * image.width + r.left) * 3;
    part.pixels.insert(part.pixels.end(), from, from + r.width * 3);
  }
  return part;
}

template <class T>
std::vector<T> mirror(const std::vector<T>& values, std::int64_t width, std::int64_t depth) {
  std::vector<T> result(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    const std::int64_t k = at % depth, x = at / depth % width, row = at / depth / width;
    result[static_cast<std::size_t>((row * width + width - 1 - x) * depth + k)] = values[i];
  }
  return result;
}

// MMSegmentation's slide_inference.
std::vector<double> slide(const Segmenter& model, const Image& picture, const Protocol& p) {
  const std::int64_t h = picture.height, w = picture.width;
  const std::int64_t ch = p.window.height, cw = p.window.width;
  std::vector<double> sum(static_cast<std::size_t>(h * w * kClasses)), count(sum.size());
  const std::int64_t rows =
      std::max<std::int64_t>(h - ch + p.stride.height - 1, 0) / p.stride.height + 1;
  const std::int64_t columns =
      std::max<std::int64_t>(w - cw + p.stride.width - 1, 0) / p.stride.width + 1;
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c) {
      const std::int64_t y2 = std::min(r * p.stride.height + ch, h),
                         y1 = std::max<std::int64_t>(y2 - ch, 0);
      const std::int64_t x2 = std::min(c * p.stride.width + cw, w),
                         x1 = std::max<std::int64_t>(x2 - cw, 0);
      const auto part =
          logits_of(model, cut(picture, {y1, x1, y2 - y1, x2 - x1}), p.transform.normalize);
      for (std::int64_t y = y1; y < y2; ++y)
        for (std::int64_t i = 0; i < (x2 - x1) * kClasses; ++i) {
          const auto to = static_cast<std::size_t>((y * w + x1) * kClasses + i);
          sum[to] += part[static_cast<std::size_t>((y - y1) * (x2 - x1) * kClasses + i)];
          ++count[to];
        }
    }
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] /= count[i];
  return sum;
}

// Class scores [H][W][classes] of a picture at h x w.
std::vector<double> expected_scores(const Segmenter& model, const Image& image, const Protocol& p,
                                    std::int64_t h, std::int64_t w) {
  std::vector<double> total(static_cast<std::size_t>(h * w * kClasses));
  for (const double scale : p.scales)
    for (const bool flipped : {false, true}) {
      if (flipped && !p.flip) continue;
      Image sized = p.transform.resize(image, scale);
      if (flipped) sized.pixels = mirror(sized.pixels, sized.width, 3);
      auto logits = p.window.height > 0 ? slide(model, sized, p)
                                        : logits_of(model, sized, p.transform.normalize);
      if (flipped) logits = mirror(logits, sized.width, kClasses);
      const Tensor at_network = Tensor::from(logits, {1, sized.height, sized.width, kClasses});
      Tensor at_size = at_network.backend().resize(at_network, h, w, Resize::bilinear);
      if (p.views() > 1) at_size = at_size.backend().softmax(at_size, false);
      const auto part = at_size.to_vector<double>();
      for (std::size_t i = 0; i < total.size(); ++i) total[i] += part[i];
    }
  return total;
}

// How far below the best class the predicted ones are, at most.
double worst_loss(const std::vector<double>& scores, const LabelMap& labels) {
  test::Worst worst;
  for (std::size_t i = 0; i < labels.values.size(); ++i) {
    const auto begin = scores.begin() + static_cast<std::ptrdiff_t>(i * kClasses);
    worst.see(*std::max_element(begin, begin + kClasses) - begin[labels.values[i]]);
  }
  return worst.error();
}

}  // namespace

TEST_CASE("inference: windows begin where MMSegmentation's do") {
  using Starts = std::vector<std::int64_t>;
  // By the overlap, window less stride.
  CHECK(patch_starts(2048, 1024, 1024 - 768) == Starts{0, 768, 1024});
  CHECK(patch_starts(1024, 1024, 1024 - 768) == Starts{0});
  CHECK(patch_starts(1025, 1024, 1024 - 768) == Starts{0, 1});
  CHECK(patch_starts(100, 30, 0) == Starts{0, 30, 60, 70});
  CHECK(patch_starts(20, 30, 30 - 7) == Starts{0});
  CHECK_THROWS_AS(patch_starts(20, 10, 10), Error);
}

TEST_CASE("inference: every protocol is the composition at full size") {
  const auto model = lively_model();
  ModelForward forward(*model);
  const Image image = little_image(90, 133, 4);
  std::vector<Protocol> protocols(6);
  protocols[1].flip = true;
  protocols[2].scales = {0.5, 1.25};
  protocols[2].flip = true;
  protocols[2].transform.base_short = 80;
  protocols[2].transform.base_long = 400;
  for (std::size_t i : {3, 4, 5}) {
    protocols[i].transform.multiple = 1;
    protocols[i].transform.least = 32;
    protocols[i].window = {48, 64};
    protocols[i].stride = {31, 50};
  }
  protocols[4].window = {40, 200};
  protocols[4].stride = {40, 200};
  protocols[5].scales = {0.75, 1, 1.5};
  protocols[5].flip = true;
  for (std::size_t i = 0; i < protocols.size(); ++i) {
    CAPTURE(i);
    const Protocol& p = protocols[i];
    const auto scores = expected_scores(*model, image, p, 101, 97);
    const LabelMap labels = predict_labels(forward, p, resize_views(p, image), 101, 97);
    REQUIRE(labels.values.size() == 101 * 97);
    CHECK(worst_loss(scores, labels) < 1e-4);
    std::set<std::uint8_t> classes(labels.values.begin(), labels.values.end());
    CHECK(classes.size() > 1);
    Protocol batched = p;
    batched.batch = 3;
    CHECK(predict_labels(forward, batched, resize_views(p, image), 101, 97).values ==
          labels.values);
  }
}

TEST_CASE("inference: in one step where network and labels are of one size") {
  const auto model = lively_model();
  ModelForward forward(*model);
  const Image image = little_image(64, 96, 4);
  Protocol two, one;
  one.one_step = true;
  const auto views = resize_views(two, image);
  CHECK(predict_labels(forward, one, views, 64, 96).values ==
        predict_labels(forward, two, views, 64, 96).values);
}
