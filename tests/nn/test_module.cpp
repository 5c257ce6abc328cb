// Names, order, layouts, initialisation, dtypes and state dictionaries.
#include <doctest/doctest.h>

#include <cmath>

#include "autograd/reduce.h"
#include "nn/conv.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "nn/state_dict.h"
#include "nn/weights_watch.h"
#include "tests/device.h"

using namespace nextgrad;

namespace {

class Net : public Module {
 public:
  Net()
      : conv(child<Conv2d>(
            "conv",
            Conv2dOptions{
                .in_channels = 2, .out_channels = 3, .window = same_window(3), .groups = 1})),
        norm(child<BatchNorm2d>("norm", 3)),
        depthwise(child<DepthwiseConv2d>("dw", 3, same_window_2d(1, 5))),
        scale(parameter("scale", {3}, Init::constant(0.25))) {}
  Variable forward(Variable x) const override { return depthwise(norm(conv(x))); }
  Conv2d& conv;
  BatchNorm2d& norm;
  DepthwiseConv2d& depthwise;
  Variable scale;
};

std::vector<std::string> names(const StateDict& dict) {
  std::vector<std::string> all;
  for (const NamedTensor& t : dict) all.push_back(t.name);
  return all;
}

const Tensor& get(const StateDict& dict, const std::string& name) {
  for (const NamedTensor& t : dict) {
    if (t.name == name) return t.value;
  }
  fail("no {}", name);
}

}  // namespace

TEST_CASE("own parameters come first, then children as declared; buffers last") {
  const Net net;
  CHECK(names(state_dict(net)) ==
        std::vector<std::string>{"scale", "conv.weight", "conv.bias", "norm.weight", "norm.bias",
                                 "dw.weight", "dw.bias", "norm.running_mean", "norm.running_var",
                                 "norm.num_batches_tracked"});
  CHECK(net.parameter_count() == 3 + 54 + 3 + 6 + 15 + 3);
  CHECK_THROWS_AS(Module().forward(Variable(Tensor::zeros({1}, DType::f32, test::test_device()))),
                  Error);
}

TEST_CASE("files hold PyTorch's layouts") {
  Net net;
  init_parameters(net, 4);
  const StateDict dict = state_dict(net);
  const Tensor& conv = get(dict, "conv.weight");
  const Tensor& dw = get(dict, "dw.weight");
  CHECK(conv.shape() == Shape{3, 2, 3, 3});
  CHECK(dw.shape() == Shape{3, 1, 1, 5});
  CHECK(get(dict, "norm.num_batches_tracked").shape() == Shape{});
  CHECK(get(dict, "norm.num_batches_tracked").dtype() == DType::i64);
  const auto ours = net.conv.weight.value().to_vector<float>();  // [O,kh,kw,I]
  const auto file = conv.to_vector<float>();                     // [O,I,kh,kw]
  CHECK(file[((2 * 2 + 1) * 3 + 0) * 3 + 2] == ours[((2 * 3 + 0) * 3 + 2) * 2 + 1]);
  const auto mine = net.depthwise.weight.value().to_vector<float>();
  CHECK(dw.to_vector<float>()[1 * 5 + 3] == mine[3 * 3 + 1]);
  for (const Parameter& p : net.named_parameters()) {
    const Tensor torch = to_torch_layout(p.value.value(), p.layout);
    CHECK(torch.shape() == torch_shape(p.value.shape(), p.layout));
    CHECK(from_torch_layout(torch, p.layout).to_vector<float>() ==
          p.value.value().to_vector<float>());
  }
}

TEST_CASE("a state dictionary goes round") {
  Net a, b;
  init_parameters(a, 1);
  a.norm.running_mean.fill_(3);
  a.norm.num_batches_tracked.fill_(17);
  b.to(DType::f64);
  b.to(test::test_device());
  const StateDict dict = state_dict(a);
  const LoadReport report = load_state_dict(b, dict);
  CHECK(report.complete());
  CHECK(report.matched.size() == 10);
  CHECK(report.summary() == "10 of 10 tensors matched");
  CHECK(b.conv.weight.dtype() == DType::f64);
  CHECK(b.conv.weight.value().to_vector<float>() == a.conv.weight.value().to_vector<float>());
  CHECK(b.norm.running_mean.to_vector<double>() == std::vector<double>(3, 3));
  CHECK(b.norm.num_batches_tracked.item() == 17);
  // What was loaded is the module's own: a change in place leaves the dictionary as it was.
  load_state_dict(a, dict);
  Tensor bias = a.scale.value();
  bias.fill_(9);
  CHECK(get(dict, "scale").to_vector<float>() == std::vector<float>(3, 0.25f));
}

TEST_CASE("a dictionary that does not fit is refused whole, or loaded as far as it fits") {
  Net net;
  StateDict dict = state_dict(net);
  for (NamedTensor& t : dict) {
    if (is_floating(t.value.dtype())) t.value.fill_(2);
  }
  std::erase_if(dict, [](const NamedTensor& t) { return t.name.ends_with("num_batches_tracked"); });
  CHECK(load_state_dict(net, dict).complete());  // old files lack the counters
  dict[0].value = Tensor::full({4}, 5, DType::f32, test::test_device());
  dict[1].name = "convolution.weight";
  dict[2].value.fill_(7);
  CHECK_THROWS_AS(load_state_dict(net, dict), InputError);
  CHECK(net.conv.bias.value().to_vector<float>()[0] == 2);
  const LoadReport report = load_state_dict(net, dict, false);
  CHECK(report.misshaped == std::vector<std::string>{"scale: file [4], model [3]"});
  CHECK(report.missing == std::vector<std::string>{"conv.weight", "norm.num_batches_tracked"});
  CHECK(report.unexpected == std::vector<std::string>{"convolution.weight"});
  CHECK(report.matched.size() == 7);
  CHECK_FALSE(report.complete());
  CHECK(report.summary().find("7 of 10 tensors matched; 2 missing: conv.weight") == 0);
  CHECK(net.conv.bias.value().to_vector<float>()[0] == 7);
  CHECK(net.scale.value().to_vector<float>()[0] == 2);
}

TEST_CASE("training mode, dtype and gradients reach every child") {
  Net net;
  net.eval();
  for (const auto& [name, module] : net.named_modules()) CHECK_FALSE(module->training());
  net.train();
  CHECK(net.norm.training());
  net.to(DType::f64);
  net.to(test::test_device());
  for (const Parameter& p : net.named_parameters()) CHECK(p.value.dtype() == DType::f64);
  CHECK(net.norm.running_var.dtype() == DType::f64);
  CHECK(net.norm.num_batches_tracked.dtype() == DType::i64);
  CHECK_THROWS_AS(net.to(DType::bf16), Error);
  sum(net(Variable(Tensor::full({1, 4, 4, 2}, 1, DType::f64, test::test_device())))).backward();
  CHECK(net.conv.weight.grad().defined());
  net.zero_grad();
  CHECK_FALSE(net.conv.weight.grad().defined());
}

TEST_CASE("initial values: their law, and a name's numbers do not depend on its surroundings") {
  const auto spread = [](const Tensor& t) {
    double sum = 0, squares = 0;
    const auto v = t.to_vector<double>();
    for (const double x : v) sum += x, squares += x * x;
    const auto n = static_cast<double>(v.size());
    return std::pair{sum / n, std::sqrt(squares / n)};
  };
  const auto [mean, deviation] = spread(draw(Init::normal(0.5), {100, 100}, 1, "a"));
  CHECK(std::abs(mean) < 0.02);
  CHECK(deviation == doctest::Approx(0.5).epsilon(0.03));
  for (const double x : draw(Init::truncated_normal(0.1), {5000}, 1, "a").to_vector<double>()) {
    CHECK(std::abs(x) <= 0.2 + 1e-8);
  }
  CHECK(Init::fan_out(3, 3, 64).scale == doctest::Approx(std::sqrt(2.0 / 576)));
  CHECK(Init::fan_out(5, 5, 64, 64).scale == doctest::Approx(std::sqrt(2.0 / 25)));

  Net net, again;
  init_parameters(net, 5);
  again.to(DType::f64);
  again.to(test::test_device());
  init_parameters(again, 5);
  CHECK(again.conv.weight.value().to_vector<float>() == net.conv.weight.value().to_vector<float>());
  CHECK(draw(net.conv.named_parameters()[0].init, net.conv.weight.shape(), 5, "conv.weight")
            .to_vector<float>() == net.conv.weight.value().to_vector<float>());
  init_parameters(again, 6);
  CHECK(again.conv.weight.value().to_vector<float>() != net.conv.weight.value().to_vector<float>());
  CHECK(net.scale.value().to_vector<float>() == std::vector<float>(3, 0.25f));
  CHECK(net.norm.weight.value().to_vector<float>() == std::vector<float>(3, 1.f));
}

TEST_CASE("weights watch: what was written to, and what lies elsewhere") {
  Linear layer(3, 2);
  WeightsWatch watch(layer);
  CHECK(!watch.moved());
  CHECK(!watch.changed());
  CHECK(!watch.changed());
  Tensor bias = layer.named_parameters()[1].value.value();
  bias.fill_(2);
  CHECK(!watch.moved());
  CHECK(watch.changed());
  CHECK(!watch.changed());
  Variable weight = layer.named_parameters()[0].value;
  weight.set_value(weight.value().clone());
  CHECK(watch.moved());
  CHECK(watch.changed());
  CHECK(!watch.moved());
}
