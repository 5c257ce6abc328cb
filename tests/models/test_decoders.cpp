// The decoders: gradients, formulas against plain loops, precision, several ranks, what is refused.
#include <doctest/doctest.h>

#include <cmath>

#include "autograd/arithmetic.h"
#include "autograd/conv.h"
#include "autograd/linalg.h"
#include "autograd/matmul.h"
#include "autograd/recompute.h"
#include "autograd/reduce.h"
#include "autograd/shape_ops.h"
#include "models/contexts.h"
#include "models/cost.h"
#include "models/segmenter.h"
#include "nn/random.h"
#include "nn/state_dict.h"
#include "tensor/ops.h"
#include "tests/autograd/check.h"

using namespace nextgrad;
using namespace nextgrad::test;
using Kind = DecoderConfig::Kind;
using Doubles = std::vector<double>;

namespace {

struct Named {
  Kind kind;
  std::string name;
  std::vector<int> stages;
};
const std::vector<Named> kDecoders = {{Kind::ham, "ham", {2, 3, 4}},
                                      {Kind::ham, "ham, all stages", {1, 2, 3, 4}},
                                      {Kind::ham, "ham, stage 4", {4}},
                                      {Kind::cc, "cc", {2, 3, 4}},
                                      {Kind::ema, "ema", {2, 3, 4}},
                                      {Kind::nonlocal, "nonlocal", {2, 3, 4}},
                                      {Kind::msca, "msca", {2, 3, 4}},
                                      {Kind::aspp, "aspp", {4}},
                                      {Kind::aspp, "aspp, two stages", {3, 4}},
                                      {Kind::uper, "uper", {1, 2, 3, 4}},
                                      {Kind::uper, "uper, two stages", {2, 4}}};

constexpr std::array<int, 4> kChannels = {3, 5, 4, 6};
constexpr int kClasses = 3;

DecoderConfig little(const Named& d) {
  return {.kind = d.kind,
          .stages = d.stages,
          .width = 32,
          .dropout = 0,
          .ham = {.rank = 5, .train_steps = 4, .eval_steps = 2}};
}

// Every weight drawn, also those that begin at 0, around 1 where they scale.
void fill(Module& module, DType dtype) {
  module.to(DType::f64);
  module.to(test_device());
  std::uint32_t use = 100;
  for (const Parameter& p : module.named_parameters()) {
    const bool scales = p.layout == Layout::plain && p.name.ends_with("weight");
    p.value.set_value(normal(p.value.shape(), use++) * 0.3 + (scales ? 1.0 : 0.0));
  }
  module.to(dtype);
}

// Four stages of these heights and widths.
using Sizes = std::array<std::array<std::int64_t, 2>, 4>;
constexpr Sizes kOdd = {{{7, 9}, {4, 5}, {2, 3}, {1, 2}}},
                kPoint = {{{5, 3}, {3, 2}, {2, 1}, {1, 1}}};
std::vector<Variable> stages_of(std::int64_t batch, const Sizes& sizes) {
  std::vector<Variable> stages;
  for (std::size_t i = 0; i < 4; ++i)
    stages.push_back(
        leaf({batch, sizes[i][0], sizes[i][1], kChannels[i]}, static_cast<std::uint32_t>(i)));
  return stages;
}

// The worst relative error of the gradients of a head: of its inputs, and of its weights.
GradcheckResult check_head(const DecoderConfig& config, std::int64_t batch, const Sizes& sizes,
                           bool train) {
  const auto head = make_decoder(config, kChannels, kClasses);
  fill(*head, DType::f64);
  head->train(train);
  const std::vector<Variable> stages = stages_of(batch, sizes);
  std::vector<Variable> inputs;
  // EM's own iterations are constants of the input: an EMA head is checked behind them.
  const bool ema = config.kind == Kind::ema;
  if (!ema)
    for (const int stage : config.stages)
      inputs.push_back(stages[static_cast<std::size_t>(stage - 1)]);
  for (const Parameter& p : head->named_parameters())
    if (!ema || !p.name.starts_with("squeeze")) inputs.push_back(p.value);
  const auto logits = [&](const std::vector<Variable>&) {
    const RandomScope same(0, 0);
    return head->logits(stages);
  };
  return gradcheck(logits, inputs, true, 1e-5, 5);
}

}  // namespace

TEST_CASE("gradients of every decoder, training and evaluation, odd sizes, batch of one") {
  for (const Named& d : kDecoders) {
    CAPTURE(d.name);
    const DecoderConfig config = little(d);
    const auto judge = [&](std::int64_t batch, const Sizes& sizes, bool train) {
      CAPTURE(batch);
      CAPTURE(train);
      const GradcheckResult r = check_head(config, batch, sizes, train);
      INFO(r.where);
      CHECK(r.worst < 1e-5);
    };
    const bool batch_norm = d.kind == Kind::aspp || d.kind == Kind::uper;
    judge(1, kOdd, false);
    // Of stage 4 alone, a group norm would see one value, which has no slope.
    if (d.stages.size() > 1) judge(1, kPoint, false);
    if (d.kind == Kind::ema) continue;  // its bases move
    judge(batch_norm ? 3 : 2, kOdd, true);
    if (!batch_norm) judge(1, kOdd, true);
  }
}

TEST_CASE("gradients of heads with the other decompositions, unrolled") {
  for (const auto kind : {DecompositionOptions::Kind::vq, DecompositionOptions::Kind::cd}) {
    DecoderConfig config = little(kDecoders[0]);
    // Softer than as published: differences of a step function say nothing.
    config.ham = {.kind = kind, .rank = 4, .train_steps = 2, .eval_steps = 1, .inv_t = 10};
    for (const bool train : {false, true}) {
      const GradcheckResult r = check_head(config, 2, kOdd, train);
      INFO(r.where);
      CHECK(r.worst < 1e-5);
    }
    config.ham.gradient = DecompositionOptions::Gradient::one_step;
    const auto head = make_decoder(config, kChannels, kClasses);
    fill(*head, DType::f64);
    const auto stages = stages_of(1, kOdd);
    sum(head->logits(stages)).backward();
    CHECK(all_finite(stages[3].grad()));
  }
}

TEST_CASE("decoders in f32 are near f64") {
  for (const Named& d : kDecoders)
    for (const bool train : {false, true}) {
      if (train && d.kind == Kind::ham) continue;  // draws other bases
      CAPTURE(d.name);
      CAPTURE(train);
      std::vector<Tensor> results[2];
      for (const DType dtype : {DType::f32, DType::f64}) {
        const auto head = make_decoder(little(d), kChannels, kClasses);
        fill(*head, DType::f32);
        head->to(dtype);
        head->train(train);
        std::vector<Variable> stages;
        for (const Variable& stage : stages_of(3, kOdd))
          stages.emplace_back(stage.value().to(DType::f32).to(dtype), true);
        const Variable logits = head->logits(stages);
        CHECK(logits.dtype() == dtype);
        logits.backward(normal(logits.shape(), 5, DType::f32).to(dtype));
        auto& all = results[dtype == DType::f64];
        all = {logits.value(), stages[3].grad()};
        for (const Buffer& b : head->named_buffers()) all.push_back(*b.value);
      }
      for (std::size_t i = 0; i < results[0].size(); ++i)
        CHECK(difference(results[0][i], results[1][i]) < 5e-3);
    }
}

TEST_CASE("decoders: the size of the logits, and evaluation of an image by itself") {
  for (const Named& d : kDecoders) {
    CAPTURE(d.name);
    const auto head = make_decoder(little(d), kChannels, kClasses);
    fill(*head, DType::f64);
    head->eval();
    const NoGrad guard;
    const auto stages = stages_of(2, kOdd);
    const Tensor both = head->logits(stages).value();
    const auto& first = kOdd[static_cast<std::size_t>(d.stages.front() - 1)];
    CHECK(both.shape() == Shape{2, first[0], first[1], kClasses});
    std::vector<Variable> second;
    for (const Variable& stage : stages) second.push_back(slice(stage, 0, 1, 2));
    CHECK(difference(head->logits(second).value(), both.slice(0, 1, 2)) < 1e-12);
  }
}

TEST_CASE("criss-cross attention is the sum over a pixel's row and column, itself once") {
  constexpr std::int64_t kN = 2, kH = 3, kW = 5, kC = 16, kD = 2;
  CrissCrossAttention attention(kC);
  fill(attention, DType::f64);
  const Variable x = leaf({kN, kH, kW, kC}, 3);
  const auto through = [&](const char* name) {
    for (const auto& [called, module] : attention.named_modules())
      if (called == name) return module->forward(x).value().to_vector<double>();
    FAIL(name);
    return Doubles{};
  };
  const Doubles q = through("query_conv"), k = through("key_conv"), v = through("value_conv");
  const double gamma = attention.named_parameters()[0].value.item();
  CHECK(attention.named_parameters()[0].name == "gamma");
  Doubles wanted = x.value().to_vector<double>();
  const auto at = [](std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t c,
                     std::int64_t channels) {
    return static_cast<std::size_t>(((n * kH + h) * kW + w) * channels + c);
  };
  for (std::int64_t n = 0; n < kN; ++n)
    for (std::int64_t h = 0; h < kH; ++h)
      for (std::int64_t w = 0; w < kW; ++w) {
        double total = 0;
        Doubles mean(kC, 0.0);
        for (std::int64_t i = 0; i < kH; ++i)
          for (std::int64_t j = 0; j < kW; ++j) {
            if (i != h && j != w) continue;
            double score = 0;
            for (std::int64_t c = 0; c < kD; ++c)
              score += q[at(n, h, w, c, kD)] * k[at(n, i, j, c, kD)];
            total += std::exp(score);
            for (std::int64_t c = 0; c < kC; ++c)
              mean[static_cast<std::size_t>(c)] += std::exp(score) * v[at(n, i, j, c, kC)];
          }
        for (std::int64_t c = 0; c < kC; ++c)
          wanted[at(n, h, w, c, kC)] += gamma * mean[static_cast<std::size_t>(c)] / total;
      }
  CHECK(difference(attention(x).value().to_vector<double>(), wanted) < 1e-12);
  // One row, one column, one pixel.
  for (const Shape& shape : {Shape{1, 1, 4, kC}, Shape{1, 4, 1, kC}, Shape{1, 1, 1, kC}}) {
    const Variable narrow = leaf(shape, 4);
    const GradcheckResult r = gradcheck([&](const auto& in) { return attention(in[0]); }, {narrow});
    CHECK(r.worst < 1e-6);
  }
}

TEST_CASE("a new criss-cross or non-local block leaves its input as it is") {
  const Variable x = leaf({2, 3, 4, 32}, 1);
  CrissCrossAttention cc(32);
  NonLocal nonlocal(32);
  for (Module* block : {static_cast<Module*>(&cc), static_cast<Module*>(&nonlocal)}) {
    init_parameters(*block, 1);
    block->to(DType::f64);
    block->to(test_device());
    CHECK(difference((*block)(x).value(), x.value()) == 0);
  }
}

TEST_CASE("the non-local block is a full softmax between its products") {
  NonLocal block(16);
  fill(block, DType::f64);
  const auto plain = [&](const std::vector<Variable>& in) {
    std::vector<Variable> rows;
    Variable out_weight, out_bias;
    for (const char* name : {"theta", "phi", "g"})
      for (const auto& [called, module] : block.named_modules())
        if (called == name) rows.push_back(reshape((*module)(in[0]), {2, 15, 8}));
    const Variable y =
        matmul(softmax(matmul(rows[0], rows[1], false, true) / std::sqrt(8.0)), rows[2]);
    for (const auto& [called, module] : block.named_modules())
      if (called == "conv_out") return in[0] + (*module)(reshape(y, {2, 3, 5, 8}));
    return Variable();
  };
  require_same([&](const auto& in) { return block(in[0]); }, plain, {leaf({2, 3, 5, 16}, 2)});
}

namespace {

// EMANet's published code, on the values: mu after `steps` rounds, and the last round's z.
struct Mixture {
  Tensor mu, z, mu_before;
};
Mixture em(const Tensor& x, const Tensor& bases, int steps) {
  Mixture m;
  m.mu = bases.expand({x.dim(0), bases.dim(1), bases.dim(2)}).contiguous();
  for (int i = 0; i < steps; ++i) {
    m.mu_before = m.mu;
    m.z = softmax(matmul(x, m.mu));
    const Tensor share = m.z / (sum(m.z, {1}) + 1e-6);
    const Tensor mean = matmul(x, share, true);
    m.mu = mean / sqrt(sum(square(mean), {1}));
  }
  return m;
}

const Module& part(const Module& whole, const std::string& name) {
  for (const auto& [called, module] : whole.named_modules())
    if (called == name) return *module;
  fail("no part {}", name);
}

}  // namespace

TEST_CASE("EM attention: reconstruction, its gradient through the shares alone, moving bases") {
  constexpr int kSteps = 3;
  EMAttention block(32, 5, kSteps);
  fill(block, DType::f64);
  const Tensor start = block.bases.clone();
  CHECK(difference(sum(square(start), {1}), Tensor::full({1, 1, 5}, 1, DType::f64)) < 1e-6);
  const Variable x = leaf({3, 4, 2, 32}, 6);
  const Tensor points = x.value().reshape({3, 8, 32});
  const Mixture m = em(points, start, kSteps);
  const auto plain = [&](const std::vector<Variable>& in) {
    const Variable z = softmax(matmul(reshape(in[0], {3, 8, 32}), Variable(m.mu_before)));
    const Variable y = reshape(matmul(z, Variable(m.mu), false, true), {3, 4, 2, 32});
    return relu(in[0] + part(block, "ema_out_conv").forward(relu(y)));
  };
  block.eval();
  require_same([&](const auto& in) { return block(in[0]); }, plain, {x}, 1e-10);
  CHECK(difference(block.bases, start) == 0);
  block.train();
  // Twice: the second batch starts where the first has moved them.
  Tensor wanted = start;
  for (int i = 0; i < 2; ++i) {
    block(x).value();
    const Tensor moved = wanted * 0.9 + sum(em(points, wanted, kSteps).mu, {0}) * (0.1 / 3);
    wanted = moved / sqrt(sum(square(moved), {1}));
    CHECK(difference(block.bases, wanted) < 1e-10);
  }
  CHECK(difference(block.bases, start) > 1e-3);
}

TEST_CASE("EM attention under recomputation: the same gradients, bases moved once") {
  Tensor gradients[2], bases[2];
  for (const bool again : {false, true}) {
    EMAttention block(32, 5, 1);
    fill(block, DType::f64);
    const Variable x = leaf({2, 3, 3, 32}, 6);
    const auto forward = [&](const std::vector<Variable>& in) { return block(in[0]); };
    const RandomScope scope(0, 0);
    const Variable y = again ? recomputed(forward, {x}) : forward({x});
    y.backward(normal(y.shape(), 9));
    gradients[again] = x.grad();
    bases[again] = block.bases;
  }
  CHECK(difference(gradients[1], gradients[0]) == 0);
  CHECK(difference(bases[1], bases[0]) == 0);
}

namespace {

// The layers of a decoder by their published names, and what the published heads do with them.
struct Layers {
  explicit Layers(const Module& head) : all(head.named_parameters()) {}
  Variable get(const std::string& name) const {
    for (const Parameter& p : all)
      if (p.name == name) return p.value;
    fail("no parameter {}", name);
  }
  // With running statistics as they begin: 0 and 1.
  Variable conv_bn_relu(const std::string& name, const Variable& x, int kernel = 1,
                        int dilation = 1) const {
    const int pad = kernel / 2 * dilation;
    const Window window{.pad_h = pad, .pad_w = pad, .dilation_h = dilation, .dilation_w = dilation};
    const Variable y = conv2d(x, get(name + ".conv.weight"), {}, window);
    return relu(y / std::sqrt(1 + 1e-5) * get(name + ".bn.weight") + get(name + ".bn.bias"));
  }
  Variable scores(const Variable& x) const {
    return conv2d(x, get("conv_seg.weight"), get("conv_seg.bias"));
  }
  std::vector<Parameter> all;
};

std::unique_ptr<Decoder> evaluated(const Named& d) {
  auto head = make_decoder(little(d), kChannels, kClasses);
  fill(*head, DType::f64);
  head->eval();
  return head;
}

}  // namespace

TEST_CASE("decoders: DeepLabV3's five scales") {
  const auto head = evaluated({Kind::aspp, "", {4}});
  const Layers of(*head);
  // Wide enough for the outer taps of the last.
  const Variable x = leaf({1, 38, 40, kChannels[3]}, 1);
  const Variable image = of.conv_bn_relu("image_pool.1", mean(x, {1, 2}, true));
  std::vector<Variable> scales{expand(image, {1, 38, 40, 32}),
                               of.conv_bn_relu("aspp_modules.0", x)};
  for (const int i : {1, 2, 3})
    scales.push_back(of.conv_bn_relu(fmt::format("aspp_modules.{}", i), x, 3, 12 * i));
  const Variable wanted = of.scores(of.conv_bn_relu("bottleneck", concat(scales, 3), 3));
  CHECK(difference(head->logits({x, x, x, x}).value(), wanted.value()) < 1e-12);
}

TEST_CASE("decoders: UPerNet's pyramids") {
  const auto head = evaluated({Kind::uper, "", {1, 2, 3, 4}});
  const Layers of(*head);
  const auto stages = stages_of(2, kOdd);
  const auto like = [](const Variable& x, const Variable& other) {
    return resize(x, other.dim(1), other.dim(2));
  };
  // The last stage has one row of two pixels: means of both, or of one each.
  const Variable x = stages[3];
  const Variable left = slice(x, 2, 0, 1), right = slice(x, 2, 1, 2), both = (left + right) * 0.5;
  const auto rows = [](const std::vector<Variable>& row, std::int64_t n) {
    const Variable one = concat(row, 2);
    return expand(one, {one.dim(0), n, one.dim(2), one.dim(3)});
  };
  const Variable pooled[] = {both, rows({left, right}, 2), rows({left, both, right}, 3),
                             rows({left, left, left, right, right, right}, 6)};
  std::vector<Variable> scales{x};
  for (std::size_t i = 0; i < 4; ++i)
    scales.push_back(like(of.conv_bn_relu(fmt::format("psp_modules.{}.1", i), pooled[i]), x));
  Variable above = of.conv_bn_relu("bottleneck", concat(scales, 3), 3);
  std::vector<Variable> levels(4);
  levels[3] = like(above, stages[0]);
  for (const int i : {2, 1, 0}) {
    const auto at = static_cast<std::size_t>(i);
    const Variable lateral = of.conv_bn_relu(fmt::format("lateral_convs.{}", i), stages[at]);
    above = lateral + like(above, lateral);
    levels[at] = like(of.conv_bn_relu(fmt::format("fpn_convs.{}", i), above, 3), stages[0]);
  }
  const Variable wanted = of.scores(of.conv_bn_relu("fpn_bottleneck", concat(levels, 3), 3));
  CHECK(difference(head->logits(stages).value(), wanted.value()) < 1e-12);
}

TEST_CASE("decoders: CCNet attends twice with the same weights") {
  RecurrentCrissCross context(32);
  fill(context, DType::f64);
  const Variable x = leaf({2, 3, 4, 32}, 2);
  const Module &conva = part(context, "conva"), &cca = part(context, "cca"),
               &convb = part(context, "convb");
  const Variable wanted = relu(convb.forward(cca.forward(cca.forward(relu(conva.forward(x))))));
  CHECK(difference(context(x).value(), wanted.value()) < 1e-12);
}

TEST_CASE("models with every decoder: odd images, recomputation, names, costs") {
  for (const Named& d : kDecoders) {
    CAPTURE(d.name);
    ModelConfig config = model_config("nano", 4);
    config.decoder = {.kind = d.kind, .stages = d.stages, .width = 64, .ham = {.rank = 8}};
    const Tensor images = normal({2, 33, 47, 3}, 1, DType::f32);
    const Tensor labels = Tensor::zeros({2, 33, 47}, DType::i32, test_device());
    Tensor gradients[2];
    for (const bool recompute : {false, true}) {
      config.encoder.recompute = recompute;
      Segmenter model(config);
      init_parameters(model, 1);
      model.to(test_device());
      const RandomScope scope(0, 0);
      const Variable loss = model.loss(model(Variable(images)), labels);
      CHECK(loss.item() == doctest::Approx(std::log(4)).epsilon(0.5));
      loss.backward();
      for (const Parameter& p : model.named_parameters()) {
        REQUIRE_MESSAGE(p.value.grad().defined(), p.name);
        CHECK_MESSAGE(all_finite(p.value.grad()), p.name);
      }
      gradients[recompute] = model.named_parameters().front().value.grad();
      CHECK(model.classifier() == "decode_head.conv_seg.");
    }
    CHECK(difference(gradients[1], gradients[0]) < 1e-4);
    const ModelCost cost = model_cost(config, 64, 64);
    CHECK(cost.total.parameters == Segmenter(config).parameter_count());
    CHECK(cost.total.activation_bytes > 0);
  }
}

TEST_CASE("decoders cost what the paper's tables say") {
  struct Row {
    const char* variant;
    Kind kind;
    std::vector<int> stages;
  };
  const std::vector<int> usual = {2, 3, 4};
  for (const Row& row : {Row{"base", Kind::cc, usual}, Row{"base", Kind::ema, usual},
                         Row{"base", Kind::nonlocal, usual}, Row{"tiny", Kind::msca, usual},
                         Row{"base", Kind::msca, usual}, Row{"tiny", Kind::ham, {4}},
                         Row{"tiny", Kind::ham, {1, 2, 3, 4}}}) {
    ModelConfig config = model_config(row.variant, 150);
    config.decoder.kind = row.kind;
    config.decoder.stages = row.stages;
    const PaperFigures paper = paper_figures(config);
    const ModelCost cost = model_cost(config, 512, 512);
    CAPTURE(row.variant);
    CHECK(paper.parameters > 0);
    CHECK(static_cast<double>(cost.total.parameters) ==
          doctest::Approx(paper.parameters).epsilon(0.011));
    CHECK(static_cast<double>(cost.total.multiply_adds) ==
          doctest::Approx(paper.multiply_adds).epsilon(0.035));
  }
}

TEST_CASE("decoders: what is refused, in one line") {
  const auto made = [](Kind kind, const std::vector<int>& stages, int width = 32, int rank = 16) {
    DecoderConfig config;
    config.kind = kind;
    config.stages = stages;
    config.width = width;
    config.ham.rank = rank;
    make_decoder(config, kChannels, kClasses);
  };
  using doctest::Contains;
  CHECK_THROWS_WITH_AS(made(Kind::uper, {4}), Contains("decoder.stages 4: uper's pyramid"),
                       InputError);
  CHECK_THROWS_WITH_AS(made(Kind::ema, {4}, 32, 33),
                       Contains("decoder.rank 33: is above decoder.width 32"), InputError);
  CHECK_NOTHROW(made(Kind::cc, {2, 3}, 32, 33));
  CHECK_NOTHROW(made(Kind::aspp, {4}, 32, 33));
  for (const Kind kind : {Kind::ham, Kind::cc, Kind::ema, Kind::nonlocal, Kind::aspp, Kind::uper}) {
    CHECK_THROWS_WITH_AS(made(kind, {1, 4}, 48), Contains("must be a multiple of 32"), InputError);
    CHECK_THROWS_AS(made(kind, {4, 3}), InputError);
    CHECK_THROWS_AS(made(kind, {2, 5}), InputError);
    CHECK_THROWS_AS(made(kind, {}), InputError);
  }
  // The mean of one image has no variance.
  for (const Named& d : kDecoders)
    if (d.kind == Kind::aspp || d.kind == Kind::uper) {
      const auto head = make_decoder(little(d), kChannels, kClasses);
      fill(*head, DType::f64);
      CHECK_THROWS_WITH_AS(head->logits(stages_of(1, kOdd)), Contains("batch norm"), Error);
    }
}

TEST_CASE("names of decoders are MMSegmentation's") {
  const auto has = [](const Named& d, const std::vector<std::string>& names) {
    const auto head = make_decoder(little(d), kChannels, kClasses);
    for (const std::string& name : names)
      CHECK_MESSAGE(std::ranges::any_of(state_dict(*head),
                                        [&](const NamedTensor& t) { return t.name == name; }),
                    name);
  };
  has({Kind::aspp, "", {4}},
      {"conv_seg.weight", "image_pool.1.conv.weight", "image_pool.1.bn.running_mean",
       "aspp_modules.0.conv.weight", "aspp_modules.3.bn.weight", "bottleneck.conv.weight"});
  has({Kind::uper, "", {1, 2, 3, 4}},
      {"psp_modules.0.1.conv.weight", "psp_modules.3.1.bn.bias", "bottleneck.bn.weight",
       "lateral_convs.2.conv.weight", "fpn_convs.2.bn.running_var", "fpn_bottleneck.conv.weight"});
  has({Kind::nonlocal, "", {4}}, {"nl_block.theta.weight", "nl_block.conv_out.bias"});
  has({Kind::ema, "", {4}}, {"ema.bases", "ema.ema_out_conv.gn.weight"});
  has({Kind::cc, "", {4}}, {"rcca.cca.gamma", "rcca.conva.conv.weight"});
}
