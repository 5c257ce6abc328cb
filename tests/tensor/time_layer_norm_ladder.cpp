// layer_norm_ladder: times the steps of layer_norm_ladder.h and prints them as a ladder.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <exception>
#include <string_view>
#include <vector>

#include "tensor/threads.h"
#include "tests/tensor/layer_norm_ladder.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

constexpr int kRounds = 12;             // the fastest counts
constexpr double kLeastSeconds = 0.05;  // of a measurement

constexpr const char* kHelp =
    R"(layer_norm_ladder [ROWS CHANNELS]: layer norm on the CPU in f32, from naive to the kernel that
ships, each step timed (the best of 12 rounds through all steps) and set against the time that
memory needs to read x and write y once.
Without arguments: SegNeXt-T's first stages for one image of 512x512, which caches hold (so that
more than the memory's 100 % can be reached), and two batches of 16 that they do not hold.
)";

struct Extents {
  std::int64_t rows, channels;
};
constexpr Extents kDefaults[] = {{16384, 32}, {4096, 64}, {262144, 32}, {65536, 160}};

// Seconds of one call, over enough of them to tell.
double seconds(const LadderStep& step, const Tensor& x, const Tensor& gamma, const Tensor& beta) {
  using Clock = std::chrono::steady_clock;
  step.run(x, gamma, beta, 1e-5);  // to warm up
  const auto begin = Clock::now();
  double passed = 0;
  int calls = 0;
  do {
    step.run(x, gamma, beta, 1e-5);
    ++calls;
    passed = std::chrono::duration<double>(Clock::now() - begin).count();
  } while (passed < kLeastSeconds);
  return passed / calls;
}

// Steps take turns, and so does the roofline, so that all see the same hours of a shared machine.
void print_ladder(Extents e) {
  Backend& backend = backend_of(Device{});
  const Tensor x = backend.random_normal({e.rows, e.channels}, DType::f32, {1, 0, 0, 0});
  const Tensor gamma = Tensor::full({e.channels}, 1.5), beta = Tensor::full({e.channels}, 0.5);
  const auto steps = layer_norm_ladder();
  std::vector<double> best(steps.size(), 1e30);
  double peak = 0;  // bytes a second
  for (int round = 0; round < kRounds; ++round) {
    peak = std::max(peak, backend.roofline().bytes);
    for (std::size_t i = 0; i < steps.size(); ++i)
      best[i] = std::min(best[i], seconds(steps[i], x, gamma, beta));
  }
  const double bytes = 2.0 * static_cast<double>(x.nbytes());  // x read, y written, once
  fmt::print("\n{} rows of {} channels, {:.1f} MB; memory's {:.1f} GB/s need {:.3f} ms\n", e.rows,
             e.channels, bytes / 1e6, peak / 1e9, 1e3 * bytes / peak);
  fmt::print("{:<32}{:>10}{:>9}{:>13}{:>13}{:>13}\n", "step", "ms", "GB/s", "of roofline",
             "vs before", "vs first");
  for (std::size_t i = 0; i < steps.size(); ++i)
    fmt::print("{:<32}{:>10.3f}{:>9.1f}{:>12.0f}%{:>12.2f}x{:>12.2f}x\n", steps[i].name,
               1e3 * best[i], bytes / best[i] / 1e9, 100 * bytes / best[i] / peak,
               best[i == 0 ? 0 : i - 1] / best[i], best[0] / best[i]);
}

// A count from 1 to a billion, or 0 for what is none.
std::int64_t count(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && value <= 1'000'000'000 ? std::max<std::int64_t>(0, value) : 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && (std::string_view(argv[1]) == "--help" || std::string_view(argv[1]) == "-h")) {
    fmt::print("{}", kHelp);
    return 0;
  }
  const Extents given = argc == 3 ? Extents{count(argv[1]), count(argv[2])} : Extents{0, 0};
  if (argc != 1 && given.rows * given.channels == 0) {
    fmt::print(stderr, "layer_norm_ladder: wants ROWS and CHANNELS, or nothing; see --help\n");
    return 2;
  }
  try {
    fmt::print("layer norm in f32 on {}\n", backend_of(Device{}).description());
    if (argc == 3) print_ladder(given);
    if (argc == 1) std::for_each(std::begin(kDefaults), std::end(kDefaults), print_ladder);
  } catch (const std::exception& e) {
    fmt::print(stderr, "layer_norm_ladder: {}\n", e.what());
    return 1;
  }
}
