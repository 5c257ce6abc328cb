#include "nn/random.h"

#include <utility>

#include "autograd/recompute.h"
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

RandomKey next_random_key() {
  return {.seed = context.seed, .iteration = context.iteration, .use = context.use++};
}

}  // namespace nextgrad
