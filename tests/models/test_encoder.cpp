// MSCAN's switches: what is left of the attention without its branches, mixing or product, and with
// one large kernel instead (tables 6 and 8 of the paper).
#include <doctest/doctest.h>

#include <map>

#include "autograd/arithmetic.h"
#include "models/cost.h"
#include "models/mscan.h"
#include "tensor/ops.h"
#include "tests/autograd/check.h"

using namespace nextgrad;

namespace {

using Gate = EncoderConfig::Gate;

const EncoderConfig kLarge{.attention = EncoderConfig::Attention::lka};

std::vector<EncoderConfig> ablations() {
  return {{.branches = {7}},
          {.branches = {11}},
          {.branches = {21, 9}},
          {.branches = {}},
          {.mixing = false},
          {.gate = Gate::none},
          {.gate = Gate::sum},
          {.mixing = false, .gate = Gate::sum},
          kLarge};
}

// What the layers of these names make of u, written out.
Variable written_out(const MSCA& msca, const EncoderConfig& c, const Variable& u) {
  std::map<std::string, const Module*> layers;
  for (const auto& [name, module] : msca.named_modules()) layers[name] = module;
  const auto call = [&](const std::string& name, const Variable& x) {
    REQUIRE_MESSAGE(layers.contains(name), name);
    return (*layers.at(name))(x);
  };
  const bool large = c.attention == EncoderConfig::Attention::lka;
  const Variable local = call("conv0", u);
  Variable attention = large ? call("conv_spatial", local) : local;
  const std::map<int, std::string> names{{7, "conv0"}, {11, "conv1"}, {21, "conv2"}};
  for (const int k : large ? std::vector<int>() : c.branches) {
    const std::string name = names.contains(k) ? names.at(k) : fmt::format("conv_{0}x{0}", k);
    attention = attention + call(name + "_2", call(name + "_1", local));
  }
  if (c.mixing) attention = call(large ? "conv1" : "conv3", attention);
  if (c.gate == Gate::product) return elementwise(Binary::mul, attention, u);
  return c.gate == Gate::sum ? elementwise(Binary::add, attention, u) : attention;
}

std::int64_t parameters_of(const EncoderConfig& switches, const char* variant) {
  ModelConfig c = model_config(variant, 150);
  c.encoder.attention = switches.attention;
  c.encoder.branches = switches.branches;
  c.encoder.mixing = switches.mixing;
  c.encoder.gate = switches.gate;
  return Segmenter(c).parameter_count();
}

}  // namespace

TEST_CASE("ablated attention is its formula, with right gradients") {
  std::uint32_t use = 0;
  for (const EncoderConfig& c : ablations()) {
    CAPTURE(use);
    MSCA msca(6, c);
    init_parameters(msca, use);
    msca.to(DType::f64);
    msca.to(test::test_device());
    const std::vector<Variable> in = {test::strided_leaf({1, 9, 5, 6}, ++use)};
    const auto ours = [&](const std::vector<Variable>& x) { return msca(x[0]); };
    test::require_same(
        ours, [&](const auto& x) { return written_out(msca, c, x[0]); }, in);
    test::require_gradcheck(ours, in);
    std::vector<Variable> weights = {Variable(in[0].value())};
    for (const Parameter& p : msca.named_parameters()) weights.push_back(p.value);
    const auto result = gradcheck([&](const std::vector<Variable>& x) { return msca(x[0]); },
                                  weights, true, 1e-5, 20);
    INFO(result.where);
    CHECK(result.ok());
  }
}

// The large kernel reaches 5x5 and, dilated, 19x19: 23 pixels a side.
TEST_CASE("the large kernel sees 23x23 pixels, three apart, and no more") {
  MSCA msca(1, EncoderConfig{.attention = EncoderConfig::Attention::lka, .gate = Gate::none});
  for (const Parameter& p : msca.named_parameters())
    p.value.set_value(Tensor::full(p.value.shape(), p.name.ends_with("weight") ? 1 : 0));
  std::vector<float> point(33 * 33);
  point[16 * 33 + 16] = 1;
  const auto seen = msca(Variable(Tensor::from(point, {1, 33, 33, 1}))).value().to_vector<float>();
  for (int y = 0; y < 33; ++y)
    for (int x = 0; x < 33; ++x) {
      int paths = 0;  // offsets 3a + b, a of -3..3 and b of -2..2, that lead there
      for (int a = -3; a <= 3; ++a)
        for (int b = -2; b <= 2; ++b)
          for (int c = -3; c <= 3; ++c)
            for (int d = -2; d <= 2; ++d) paths += y - 16 == 3 * a + b && x - 16 == 3 * c + d;
      CHECK(seen[static_cast<std::size_t>(y * 33 + x)] == doctest::Approx(paths));
    }
}

TEST_CASE("parameters of the ablations, to the paper's rounding") {
  const auto millions = [](std::int64_t n) {
    return std::round(static_cast<double>(n) / 1e5) / 10;
  };
  CHECK(millions(parameters_of({}, "tiny")) == 4.3);  // table 8
  CHECK(millions(parameters_of(kLarge, "tiny")) == 4.2);
  CHECK(millions(parameters_of({}, "small")) == 13.9);
  CHECK(millions(parameters_of(kLarge, "small")) == 13.8);
  // A branch of k has two strips of k taps and two biases a channel; blocks and channels of tiny.
  const std::int64_t channels = 3 * 32 + 3 * 64 + 5 * 160 + 2 * 256;
  const std::int64_t full = parameters_of({}, "tiny");
  CHECK(full - parameters_of({.branches = {7}}, "tiny") == channels * (2 * 11 + 2 * 21 + 4));
  CHECK(full - parameters_of({.branches = {21}}, "tiny") == channels * (2 * 7 + 2 * 11 + 4));
  CHECK(parameters_of({.gate = Gate::none}, "tiny") == full);
  std::int64_t mixing = 0;
  for (const auto& [blocks, c] : {std::pair{3, 32}, {3, 64}, {5, 160}, {2, 256}})
    mixing += blocks * (c * c + c);
  CHECK(full - parameters_of({.mixing = false}, "tiny") == mixing);
}

TEST_CASE("an encoder of any widths, depths and ratios; what none can be is refused") {
  ModelConfig c = model_config("nano", 5);
  c.encoder.channels = {6, 10, 14, 18};
  c.encoder.blocks = {1, 2, 1, 1};
  c.encoder.ratios = {2, 3, 1, 4};
  c.auxiliary = true;
  Segmenter model(c);
  init_parameters(model, 1);
  model.eval();  // no dropout: losses are compared
  model.to(test::test_device());
  const Tensor image = test::normal({2, 33, 47, 3}, 1, DType::f32);
  const Tensor labels = Tensor::full({2, 33, 47}, 3, DType::i32).to(test::test_device());
  const auto out = model.forward_stages(Variable(image));
  CHECK(out.stages[1].shape() == Shape{2, 5, 6, 10});
  const Variable main = model.loss(out.logits, labels);
  const Variable both = model.loss(out, labels, {}, 0.4),
                 heavier = model.loss(out, labels, {}, 0.8);
  const double auxiliary = (both.value().item() - main.value().item()) / 0.4;
  CHECK(auxiliary > 0);
  CHECK(heavier.value().item() == doctest::Approx(main.value().item() + 0.8 * auxiliary));
  both.backward();
  for (const Parameter& p : model.named_parameters())
    CHECK_MESSAGE(p.value.grad().defined(), p.name);
  const auto refused = [](auto change, const char* word) {
    EncoderConfig wrong;
    change(wrong);
    try {
      make_encoder(wrong);
      FAIL_CHECK("not refused");
    } catch (const InputError& e) {
      CHECK_MESSAGE(std::string(e.what()).find(word) != std::string::npos, e.what());
    }
  };
  refused([](EncoderConfig& e) { e.branches = {8}; }, "odd");
  refused([](EncoderConfig& e) { e.branches = {7, 7}; }, "twice");
  refused([](EncoderConfig& e) { e.branches = {}, e.gate = Gate::none; }, "no attention is left");
  refused([](EncoderConfig& e) { e.channels[2] = 0; }, "stage 3");
  refused([](EncoderConfig& e) { e.blocks[0] = 0; }, "stage 1");
}
