// Two layers learn what no straight line is, y = sin(2 x), from 64 numbers.
#include <cmath>

#include "autograd/arithmetic.h"
#include "autograd/reduce.h"
#include "nn/linear.h"
#include "nn/optim.h"

using namespace nextgrad;

struct Net : Module {
  Linear& hidden = child<Linear>("hidden", 1, 32);
  Linear& out = child<Linear>("out", 32, 1);
  Variable forward(Variable x) const override { return out(tanh(hidden(x))); }
};

int main() {
  std::vector<float> x, y;
  for (int i = 0; i < 64; ++i) {
    x.push_back(static_cast<float>(i) / 16 - 2);
    y.push_back(std::sin(2 * x.back()));
  }
  const Variable input(Tensor::from(x, {64, 1})), target(Tensor::from(y, {64, 1}));
  Net net;
  init_parameters(net, 0);
  AdamW optimizer(net.named_parameters(), {.weight_decay = 0});
  double loss = 1;
  for (int step = 0; step <= 1000; ++step) {
    const Variable error = mean(square(net(input) - target));
    optimizer.zero_grad();
    error.backward();
    optimizer.step(0.02);
    loss = error.item();
    if (step % 200 == 0) fmt::print("step {:4}  loss {:.5f}\n", step, loss);
  }
  return loss < 1e-3 ? 0 : 1;
}
