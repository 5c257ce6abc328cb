#include "nn/random.h"

#include <utility>

#include "autograd/recompute.h"
#include "nn/share.h"
#include "tensor/error.h"

namespace nextgrad {

namespace {

thread_local RandomContext context;
thread_local std::uint64_t last_serial = 0;

std::uint64_t save() {
  return context.serial << 32 | context.use;
}

void restore(std::uint64_t state) {
  check(state >> 32 == (context.serial & 0xffffffffu),
        "backward of recomputed() outside the RandomScope of its forward: random masks would "
        "differ; keep the scope alive until backward() is done");
  context.use = static_cast<std::uint32_t>(state);
}

const bool registered = (set_replay_hook({save, restore}), true);

}  // namespace

RandomScope::RandomScope(std::uint64_t seed, std::uint64_t iteration)
    : before_(std::exchange(context, {seed, iteration, ++last_serial, 0})) {}

RandomScope::~RandomScope() {
  context = before_;
}

RandomKey coming_random_key() {
  return {.seed = context.seed, .iteration = context.iteration, .use = context.use};
}

RandomKey next_random_key() {
  const RandomKey key = coming_random_key();
  ++context.use;
  return key;
}

Tensor draw_share(const Shape& shape, const Draw& draw) {
  RandomKey key = next_random_key();
  const Share& share = current_share();
  if (share.everyone == nullptr) return draw(shape, key);
  const std::int64_t count = share.count();
  check(count > 0 && shape[0] % count == 0,
        "random numbers {} for {} samples of a batch of {}: give ShareScope what is computed",
        shape, count, share.total);
  const std::int64_t rows = shape[0] / count;
  const auto first = static_cast<std::uint64_t>(shape.numel() / count);
  std::vector<Tensor> pieces;
  for (const auto& [begin, end] : share.samples) {
    Shape piece = shape;
    piece[0] = rows * (end - begin);
    key.first = first * static_cast<std::uint64_t>(begin);
    pieces.push_back(draw(piece, key));
  }
  if (pieces.size() == 1) return pieces[0];
  Tensor all = Tensor::empty(shape, pieces[0].dtype(), pieces[0].device());
  std::int64_t row = 0;
  for (const Tensor& piece : pieces) {
    all.slice(0, row, row + piece.dim(0)).copy_(piece);
    row += piece.dim(0);
  }
  return all;
}

}  // namespace nextgrad
