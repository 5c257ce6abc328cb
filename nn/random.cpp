#include "nn/random.h"

#include "autograd/checkpoint.h"
#include "tensor/error.h"

namespace nextgrad {

namespace {

struct Context {
  std::uint64_t seed = 0, iteration = 0;
  std::uint64_t serial = 0;  // which scope: tells a replay that it came too late
  std::uint32_t use = 0;
};
thread_local Context context;
thread_local std::uint64_t last_serial = 0;

std::uint64_t save() {
  return context.serial << 32 | context.use;
}

void restore(std::uint64_t state) {
  check(state >> 32 == (context.serial & 0xffffffffu),
        "backward of a checkpoint outside the RandomScope of its forward: random masks would "
        "differ; keep the scope alive until backward() is done");
  context.use = static_cast<std::uint32_t>(state);
}

const bool registered = (set_replay_hook({save, restore}), true);

}  // namespace

RandomScope::RandomScope(std::uint64_t seed, std::uint64_t iteration)
    : seed_(context.seed),
      iteration_(context.iteration),
      serial_(context.serial),
      use_(context.use) {
  context = {seed, iteration, ++last_serial, 0};
}

RandomScope::~RandomScope() {
  context = {seed_, iteration_, serial_, use_};
}

RandomKey next_random_key() {
  return {.seed = context.seed, .iteration = context.iteration, .use = context.use++};
}

}  // namespace nextgrad
