// segnext bench gemm: this library's matrix product beside Eigen's, on the shapes of a model.
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "apps/build_config.h"
#include "apps/commands/commands.h"
#include "apps/commands/eigen_product.h"
#include "apps/report/progress.h"
#include "models/segmenter.h"
#include "nn/conv.h"
#include "tensor/threads.h"

namespace nextgrad {
namespace {

using nlohmann::json;

struct GemmArguments {
  std::vector<std::string> variants = {"tiny", "base"};
  std::string json_file;
  Size size{512, 512};
  int runs = 5, threads = 0;
};

struct Product {  // of [m, k] and [k, n]: a convolution of m pixels, or a step of the NMF
  std::int64_t m, n, k;
  auto operator<=>(const Product&) const = default;
};

// Pixels that a layer of this name puts out: names carry the number of their stage first,
// "backbone.block2.0.attn". The decoder works at stage 2's size, the stem's first layer at a half.
std::int64_t pixels_of(const std::string& name, const Size& image) {
  const std::size_t digit = name.find_first_of("1234");
  int halvings = name.starts_with("decode_head") ? 3 : name[digit] - '0' + 1;
  if (name == "backbone.patch_embed1.proj.0") halvings = 1;
  const std::int64_t step = std::int64_t{1} << halvings;
  return (image.height + step - 1) / step * ((image.width + step - 1) / step);
}

// The products of one image's prediction, each shape once, the largest first.
std::vector<Product> products_of(const GemmArguments& a) {
  std::set<Product> products;
  for (const std::string& variant : a.variants) {
    const Segmenter model(model_config(variant, 150));
    for (const auto& [name, module] : model.named_modules()) {
      if (const auto* conv = dynamic_cast<const Conv2d*>(module)) {
        const std::int64_t out = conv->weight.dim(0), taps = conv->weight.value().numel() / out;
        products.insert({pixels_of(name, a.size), out, taps});
      } else if (const auto* ham = dynamic_cast<const MatrixDecomposition*>(module)) {
        const std::int64_t n = pixels_of(name, a.size), rank = ham->options().rank,
                           width = model.config().decoder.width;
        products.insert({{n, rank, width}, {width, rank, n}, {n, width, rank}});
      }
    }
  }
  std::vector<Product> sorted(products.begin(), products.end());
  std::ranges::stable_sort(sorted, std::greater{}, [](const Product& p) { return p.m * p.n * p.k; });
  return sorted;
}

// Fastest seconds of {ours, Eigen's} x W^T, x [m, k] and W [n, k] as layers hold them, in turns.
template <class T>
std::array<double, 2> fastest(const Product& p, DType dtype, int runs) {
  Backend& backend = backend_of(Device{});
  const Tensor x = backend.random_normal({p.m, p.k}, dtype, {.seed = 1});
  const Tensor w = backend.random_normal({p.n, p.k}, dtype, {.seed = 2});
  const std::vector<T> xs = x.to_vector<T>(), ws = w.to_vector<T>();
  std::vector<T> c(static_cast<std::size_t>(p.m * p.n));
  std::array<double, 2> best{HUGE_VAL, HUGE_VAL};
  for (int i = -1; i < runs; ++i) {  // -1: warm-up
    Stopwatch clock;
    const Tensor y = backend.linear(x, w, {}, Activation::none, nullptr);
    const double ours = clock.seconds();
    clock = Stopwatch();
    multiply_by_eigen(
        {p.m, p.n, p.k, sizeof(T) == 8, xs.data(), ws.data(), c.data(), num_threads()});
    const double eigens = clock.seconds();
    if (i >= 0) best = {std::min(best[0], ours), std::min(best[1], eigens)};
  }
  return best;
}

void run_gemm_bench(const GemmArguments& a) {
  check_output(a.json_file);
  set_num_threads(a.threads);
  fmt::print("{}; Eigen {}\n", backend_of(Device{}).description(), NEXTGRAD_EIGEN_VERSION);
  fmt::print("{:<6}{:>10}{:>8}{:>8}{:>16}{:>16}{:>8}\n", "type", "m", "n", "k", "ours GFLOP/s",
             "Eigen GFLOP/s", "ratio");
  json table = json::array();
  for (const DType dtype : {DType::f32, DType::f64})
    for (const Product& p : products_of(a)) {
      const auto [ours, eigens] = dtype == DType::f32 ? fastest<float>(p, dtype, a.runs)
                                                      : fastest<double>(p, dtype, a.runs);
      const double giga = 2e-9 * static_cast<double>(p.m * p.n * p.k);
      fmt::print("{:<6}{:>10}{:>8}{:>8}{:>16.1f}{:>16.1f}{:>8.2f}\n", name_of(dtype), p.m, p.n, p.k,
                 giga / ours, giga / eigens, eigens / ours);
      table.push_back({{"dtype", name_of(dtype)},
                       {"m", p.m},
                       {"n", p.n},
                       {"k", p.k},
                       {"ours_gflops", giga / ours},
                       {"eigen_gflops", giga / eigens},
                       {"ratio", eigens / ours}});
    }
  write_json(a.json_file, json{{"threads", num_threads()}, {"gemm", table}});
}

}  // namespace

void gemm_bench_command(Command bench) {
  const Command app =
      bench.subcommand("gemm", "Time matrix products of a model beside Eigen's",
                       "Example:\n  segnext bench gemm --variant tiny --json gemm.json");
  auto a = std::make_shared<GemmArguments>();
  app.option("--variant", a->variants, "whose products: nano, tiny, small, base or large")
      .one_of({"nano", "tiny", "small", "base", "large"})
      .shows_default();
  app.size("--size", a->size, "one image, WIDTHxHEIGHT [512]");
  app.number("--runs", a->runs, 1, 1000, "timed runs, of which the fastest is told");
  app.option("--threads", a->threads, "threads that compute; 0 = all cores").range(0, 1024);
  app.option("--json", a->json_file, "also write all figures to this file");
  app.does([a] { run_gemm_bench(*a); });
}

}  // namespace nextgrad
