// The models beyond the golden cases: all variants, odd sizes, recomputation, determinism, costs.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "autograd/arithmetic.h"
#include "autograd/fused.h"
#include "autograd/reduce.h"
#include "autograd/shape_ops.h"
#include "models/classifier.h"
#include "models/mscan.h"
#include "models/cost.h"
#include "models/published_names.h"
#include "models/segmenter.h"
#include "nn/random.h"
#include "nn/state_dict.h"
#include "tensor/profile.h"
#include "tests/compare.h"

using namespace nextgrad;

namespace {

Variable image(const Shape& shape, std::uint64_t seed = 1) {
  return Variable(backend_of(Device{}).random_normal(shape, DType::f32, {.seed = seed}));
}

Tensor labels(const Shape& shape, int classes) {
  std::vector<std::int32_t> v(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<int>(i / 5) % classes;
  v[0] = 255;
  return Tensor::from(v, shape);
}

struct StepResult {
  double loss;
  std::vector<std::vector<double>> gradients, buffers;
  std::size_t peak = 0;  // bytes live at most, above those at the start of the step
};

StepResult step(const ModelConfig& config, const Shape& input, DType dtype) {
  Segmenter model(config);
  init_parameters(model, 1);
  model.to(dtype);
  const RandomScope scope(0, 0);
  const Variable x(image(input).value().to(dtype));
  x.backend().reset_peak();
  const std::size_t before = x.backend().memory().live;
  const Variable logits = model(x);
  const Variable loss =
      model.loss(logits, labels({input[0], input[1], input[2]}, config.num_classes));
  loss.backward();
  StepResult result{loss.item(), {}, {}, x.backend().memory().peak - before};
  for (const Parameter& p : model.named_parameters()) {
    REQUIRE(p.value.grad().defined());
    result.gradients.push_back(p.value.grad().to_vector<double>());
  }
  for (const Buffer& b : model.named_buffers())
    result.buffers.push_back(b.value->to_vector<double>());
  return result;
}

}  // namespace

TEST_CASE("every variant runs forward and backward on an odd size") {
  for (const std::string& variant : variant_names()) {
    CAPTURE(variant);
    const ModelConfig config = model_config(variant, 5);
    const StepResult r = step(config, {2, 33, 47, 3}, DType::f32);
    CHECK(r.loss == doctest::Approx(std::log(5)).epsilon(0.5));
    for (const auto& g : r.gradients) {
      CHECK(std::all_of(g.begin(), g.end(), [](double v) { return std::isfinite(v); }));
    }
  }
}

TEST_CASE("sizes of features and logits; what is refused") {
  Segmenter model(model_config("nano", 7));
  init_parameters(model, 1);
  model.eval();
  const auto out = model.forward_stages(image({1, 33, 47, 3}));
  CHECK(out.stages[0].shape() == Shape{1, 9, 12, 16});
  CHECK(out.stages[1].shape() == Shape{1, 5, 6, 32});
  CHECK(out.stages[2].shape() == Shape{1, 3, 3, 64});
  CHECK(out.stages[3].shape() == Shape{1, 2, 2, 128});
  CHECK(out.logits.shape() == Shape{1, 5, 6, 7});
  CHECK(model.predict(out.logits, 33, 47).shape() == Shape{1, 33, 47});
  CHECK(model(image({1, 32, 32, 3})).shape() == Shape{1, 4, 4, 7});
  CHECK_THROWS_AS(model(image({1, 31, 64, 3})), Error);
  CHECK_THROWS_AS(model(image({1, 64, 64, 4})), Error);
  CHECK_THROWS_AS(model_config("huge", 7), InputError);
  CHECK_THROWS_AS(model_config("tiny", 0), InputError);
  CHECK(model_config("b", 3).variant == "base");
  CHECK(model_config("t", 3).variant == "tiny");
}

TEST_CASE("initial values are the published ones") {
  Segmenter model(model_config("nano", 3));
  init_parameters(model, 1);
  for (const Parameter& p : model.named_parameters()) {
    const auto v = p.value.value().to_vector<double>();
    double squares = 0;
    for (const double x : v) squares += x * x;
    const double size = std::sqrt(squares / static_cast<double>(v.size()));
    CAPTURE(p.name);
    if (p.name.find("layer_scale") != std::string::npos) {
      CHECK(size == doctest::Approx(0.01).scale(0));
    } else if (p.name.ends_with("bias")) {
      CHECK(size == 0);
    } else if (p.layout == Layout::plain) {
      CHECK(size == doctest::Approx(1));  // norms
    } else if (v.size() > 500) {
      const Shape& s = p.value.shape();
      const double fan = p.layout == Layout::depthwise ? static_cast<double>(s[0] * s[1])
                                                       : static_cast<double>(s[0] * s[1] * s[2]);
      CHECK(size == doctest::Approx(std::sqrt(2 / fan)).epsilon(0.15).scale(0));
    } else if (p.name == "decode_head.conv_seg.weight") {
      CHECK(size == doctest::Approx(0.01).epsilon(0.3).scale(0));
    }
  }
}

TEST_CASE("recomputation changes memory, not numbers") {
  ModelConfig config = model_config("nano", 4);
  config.encoder.drop_path = 0.5;
  const StepResult kept = step(config, {3, 57, 96, 3}, DType::f64);
  config.encoder.recompute = true;
  const StepResult again = step(config, {3, 57, 96, 3}, DType::f64);
  CHECK(kept.loss == again.loss);
  CHECK(kept.gradients == again.gradients);
  CHECK(kept.buffers == again.buffers);
  CHECK(static_cast<double>(again.peak) < 0.9 * static_cast<double>(kept.peak));
}

TEST_CASE("a step is a function of seed and iteration") {
  ModelConfig config = model_config("nano", 4);
  const StepResult a = step(config, {2, 40, 40, 3}, DType::f32);
  const StepResult b = step(config, {2, 40, 40, 3}, DType::f32);
  CHECK(a.loss == b.loss);
  CHECK(a.gradients == b.gradients);
}

TEST_CASE("a prediction does not depend on the other images of its batch") {
  Segmenter model(model_config("nano", 4));
  init_parameters(model, 2);
  model.to(DType::f64);
  model.eval();
  const NoGrad guard;
  const Tensor both = image({2, 40, 56, 3}).value().to(DType::f64);
  const auto logits = model(Variable(both)).value().slice(0, 1, 2).to_vector<double>();
  const auto alone = model(Variable(both.slice(0, 1, 2).contiguous())).value().to_vector<double>();
  CHECK(test::difference(alone, logits) < 1e-12);
}

TEST_CASE("a branch honours its mask in evaluation too") {
  Block block(8, 2, 0, EncoderConfig());
  init_parameters(block, 4);
  block.to(DType::f64);
  block.eval();
  const Tensor mask = Tensor::from(std::vector<double>{0, 2}, {2});
  const Variable base = cast(image({2, 6, 5, 8}, 1), DType::f64);
  const Variable x = cast(image({2, 6, 5, 8}, 2), DType::f64);
  const Variable scale(Tensor::full({8}, 0.5, DType::f64));
  const NoGrad off;
  int branches = 0;
  const auto judge = [&](const auto* branch) {
    if (branch == nullptr) return;
    ++branches;
    const Variable added = base + scale * (*branch)(x)-base;
    const Variable masked = base + scale_images(scale * (*branch)(x), mask) - base;
    const Variable wanted = added * Variable(mask.reshape({2, 1, 1, 1}));
    CHECK(test::difference(masked.value(), wanted.value()) < 1e-12);
  };
  for (const auto& [name, module] : block.named_modules()) {
    CAPTURE(name);
    judge(dynamic_cast<const Attention*>(module));
    judge(dynamic_cast<const FeedForward*>(module));
  }
  CHECK(branches == 2);
}

TEST_CASE("drop path grows linearly over all blocks; evaluation draws nothing") {
  const MSCAN encoder(model_config("tiny", 3).encoder);
  std::vector<double> rates;
  for (const auto& [name, module] : encoder.named_modules()) {
    if (const auto* path = dynamic_cast<const DropPath*>(module)) rates.push_back(path->p());
  }
  REQUIRE(rates.size() == 13);
  for (std::size_t i = 0; i < 13; ++i) {
    CHECK(rates[i] == doctest::Approx(0.1 * static_cast<double>(i) / 12));
  }
}

TEST_CASE("the classifier has the names of the ImageNet files") {
  Classifier model(model_config("nano", 1).encoder, 10);
  init_parameters(model, 1);
  const auto parameters = model.named_parameters();
  CHECK(parameters.front().name == "patch_embed1.proj.0.weight");
  CHECK(parameters[parameters.size() - 2].name == "head.weight");
  CHECK(parameters.back().name == "head.bias");
  const Variable logits = model(image({2, 64, 48, 3}));
  CHECK(logits.shape() == Shape{2, 10});
  sum(logits).backward();
  CHECK(parameters.front().value.grad().defined());

  // Its weights start a SegNeXt: all of the encoder, nothing else.
  Segmenter segnext(model_config("nano", 4));
  const LoadReport report =
      load_state_dict(segnext, adapt_published_names(state_dict(model)), false);
  CHECK(report.unexpected.empty());
  CHECK(report.misshaped.empty());
  for (const std::string& name : report.missing) CHECK(name.starts_with("decode_head."));
  CHECK(report.matched.size() ==
        model.named_parameters().size() - 2 + model.named_buffers().size());
}

TEST_CASE("published names") {
  const Tensor t = Tensor::zeros({1});
  const auto names = [](const StateDict& d) {
    std::vector<std::string> all;
    for (const NamedTensor& e : d) all.push_back(e.name);
    return all;
  };
  CHECK(names(adapt_published_names({{"module.backbone.block1.0.mlp.dwconv.weight", t},
                                     {"module.backbone.block1.1.mlp.dwconv.dwconv.bias", t},
                                     {"auxiliary_head.conv.weight", t},
                                     {"decode_head.conv_seg.bias", t}})) ==
        std::vector<std::string>{"backbone.block1.0.mlp.dwconv.dwconv.weight",
                                 "backbone.block1.1.mlp.dwconv.dwconv.bias",
                                 "decode_head.conv_seg.bias"});
  CHECK(names(adapt_published_names({{"norm1.weight", t}, {"head.weight", t}})) ==
        std::vector<std::string>{"backbone.norm1.weight"});
}

TEST_CASE("published names: what stands before every name is taken off") {
  const Tensor t = Tensor::zeros({1});
  const auto check_prefix = [&](const std::string& prefix, const std::string& inner,
                                const std::string& said) {
    CAPTURE(prefix);
    std::string taken;
    const auto names = names_without_prefix({{prefix + inner + "patch_embed1.proj.0.weight", t},
                                             {prefix + inner + "norm1.weight", t},
                                             {prefix + "decode_head.conv_seg.bias", t},
                                             {"criterion.weight", t}},
                                            &taken);
    CHECK(names == std::vector<std::string>{"backbone.patch_embed1.proj.0.weight",
                                            "backbone.norm1.weight", "decode_head.conv_seg.bias",
                                            "criterion.weight"});
    CHECK(taken == said);
  };
  check_prefix("", "backbone.", "");
  for (const std::string prefix :
       {"model.", "module.", "net.", "_orig_mod.", "module.module.", "model._orig_mod.module.",
        "some.thing.else.", "segmentor.model."})
    check_prefix(prefix, "backbone.", prefix);
  check_prefix("", "backbone._orig_mod.",
               "backbone._orig_mod.patch_embed1.proj.0.weight (now "
               "backbone.patch_embed1.proj.0.weight)");
  // Of several models the trained one; what is like one of its names stays outside.
  const std::string last = "block1.0.norm1.weight";
  CHECK(names_without_prefix({{"ema." + last, t}, {"model." + last, t}, {"teacher." + last, t}}) ==
        std::vector<std::string>{"ema." + last, last, "teacher." + last});
  CHECK(names_without_prefix({{last, t}, {"module." + last, t}}) ==
        std::vector<std::string>{last, "module." + last});
  CHECK(names_without_prefix({{"model." + last, t}, {"model.head.bias", t}, {"head.bias", t}}) ==
        std::vector<std::string>{last, "head.bias", "head.bias (outside the model)"});
  // Buffers of others get no prefix of ours.
  CHECK(adapt_published_names({{last, t}, {"ema_norm1_weight", t}})[1].name == "ema_norm1_weight");
}

TEST_CASE("published names: encoders alone, MMSegmentation 1.x, what is left out") {
  const Tensor t = Tensor::zeros({1});
  std::vector<std::string> left_out;
  adapt_published_names({{"module.norm1.weight", t}, {"module.head.bias", t}}, &left_out);
  CHECK(left_out == std::vector<std::string>{"head.bias"});
  left_out.clear();
  const StateDict encoder = adapt_encoder_names({{"module.backbone.norm1.weight", t},
                                                 {"backbone.block1.0.mlp.dwconv.bias", t},
                                                 {"decode_head.conv_seg.bias", t},
                                                 {"head.weight", t}},
                                                &left_out);
  REQUIRE(encoder.size() == 3);
  CHECK(encoder[0].name == "norm1.weight");
  CHECK(encoder[1].name == "block1.0.mlp.dwconv.dwconv.bias");
  CHECK(encoder[2].name == "head.weight");
  CHECK(left_out == std::vector<std::string>{"decode_head.conv_seg.bias"});
  CHECK(mmseg1_name("a.mlp.dwconv.dwconv.weight") == "a.mlp.dwconv.weight");
  CHECK(mmseg1_name("a.mlp.dwconv.weight") == "a.mlp.dwconv.weight");
  CHECK(mmseg1_name("norm1.weight") == "norm1.weight");
  CHECK(published_name("a.mlp.dwconv.weight") == "a.mlp.dwconv.dwconv.weight");
  CHECK(published_name("a.mlp.dwconv.dwconv.weight") == "a.mlp.dwconv.dwconv.weight");
}

TEST_CASE("the variant of a state dict is read from its shapes") {
  for (const std::string variant : {"nano", "tiny", "small", "base"}) {
    const Segmenter model(model_config(variant, 7));
    StateDict weights = state_dict(model);
    Architecture a = architecture_of(weights);
    CHECK(a.variant == variant);
    CHECK(a.classes == 7);
    CHECK(a.decoder_channels == model.config().decoder.width);
    std::erase_if(weights, [](const NamedTensor& t) { return t.name.starts_with("decode_head"); });
    a = architecture_of(weights);
    CHECK(a.variant == variant);
    CHECK(a.classes == 0);
    weights.erase(weights.begin(), weights.begin() + static_cast<long>(weights.size() / 2));
    CHECK(architecture_of(weights).variant.empty());
  }
  CHECK(architecture_of({}).variant.empty());
  const Tensor t = Tensor::zeros({1});
  for (const char* name : {"backbone.block1.", "backbone.block1.x.a", "backbone.block1.9",
                           "backbone.block1.99999999999999999999.a"})
    CHECK(architecture_of({{name, t}}).blocks[0] == 0);
}

TEST_CASE("costs agree with the models and the paper") {
  for (const std::string& variant : variant_names()) {
    CAPTURE(variant);
    const ModelConfig config = model_config(variant, 150);
    if (variant == "b4" || variant == "b5") continue;  // slow; the paper has no figures of them
    const ModelCost cost = model_cost(config, 512, 512);
    CHECK(cost.total.parameters == Segmenter(config).parameter_count());
    CHECK(cost.stages.size() == 5);
    CHECK(cost.total.activation_bytes > 0);
    const PaperFigures paper = paper_figures(config);
    if (variant == "nano") {
      CHECK(paper.parameters == 0);
      continue;
    }
    const double tolerance = 0.05;
    CHECK(static_cast<double>(cost.total.parameters) ==
          doctest::Approx(paper.parameters).epsilon(tolerance));
    CHECK(static_cast<double>(cost.total.multiply_adds) ==
          doctest::Approx(paper.multiply_adds).epsilon(tolerance));
  }
  CHECK(model_cost(model_config("nano", 2), 32, 32).total.multiply_adds > 0);
  CHECK_THROWS_AS(model_cost(model_config("tiny", 2), 16, 64), InputError);
}
