// A convolutional network learns Fashion-MNIST (dataset-fashion-mnist), or digits drawn in noise.
#include <filesystem>

#include "apps/report/contact_sheet.h"
#include "autograd/arithmetic.h"
#include "autograd/loss.h"
#include "autograd/reduce.h"
#include "autograd/shape_ops.h"
#include "data/datasets/dataset.h"
#include "nn/conv.h"
#include "nn/linear.h"
#include "nn/optim.h"
using namespace nextgrad;
struct Net : Module {
  Conv2d& a = child<Conv2d>("a", Conv2dOptions{1, 16, same_window(3, 2)});
  Conv2d& b = child<Conv2d>("b", Conv2dOptions{16, 32, same_window(3, 2)});
  Linear& out = child<Linear>("out", 7 * 7 * 32, 10);
  Variable forward(Variable x) const override {
    return out(reshape(relu(b(relu(a(x)))), {x.dim(0), 7 * 7 * 32}));
  }
};
struct Digits : ClassDataset {
  std::int64_t size() const override { return 20000; }
  std::string name(std::int64_t i) const override { return std::to_string(i); }
  int load_label(std::int64_t i) const override { return static_cast<int>(i % 10); }
  Image load_image(std::int64_t i) const override {
    RandomStream random({.seed = 1, .sample = static_cast<std::uint32_t>(i)});
    Image image{28, 28, std::vector<std::uint8_t>(28 * 28 * 3)};
    for (auto& v : image.pixels) v = static_cast<std::uint8_t>(random.below(128));
    const auto x = static_cast<int>(random.below(9)), y = static_cast<int>(random.below(9));
    draw_text(image, x, y, std::to_string(load_label(i)), {255, 255, 255});
    return image;
  }
};
int main() {
  const std::string fashion = "/usr/share/datasets/fashion-mnist";
  std::unique_ptr<ClassDataset> data = std::make_unique<Digits>();
  if (std::filesystem::exists(fashion)) data = make_class_dataset({"idx", fashion}, "train");
  Net net;
  init_parameters(net, 0);
  AdamW optimizer(net.named_parameters());
  double right = 0;
  for (std::int64_t i = 0; i + 50 <= 20000; i += 50) {  // each picture once: a test, then a lesson
    std::vector<float> x;
    std::vector<std::int32_t> y;
    for (std::int64_t k = i; k < i + 50; ++k) {
      const Image image = data->load_image(k);
      for (std::size_t p = 0; p < 28 * 28; ++p) x.push_back(image.pixels[3 * p] / 255.0f);
      y.push_back(data->load_label(k));
    }
    const Variable logits = net(Variable(Tensor::from(x, {50, 28, 28, 1})));
    const auto guess = argmax(logits.value(), 1).to_vector<std::int32_t>();
    for (std::size_t k = 0; k < 50; ++k) right += i >= 18000 && guess[k] == y[k];
    optimizer.zero_grad();
    cross_entropy(logits, Tensor::from(y, {50})).backward();
    optimizer.step(2e-3);
  }
  fmt::print("{:.1f} % of the last 2000 right before they were learned\n", right / 20);
  return right > 1600 ? 0 : 1;
}
