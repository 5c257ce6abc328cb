// segnext bench gemm: this library's matrix product beside Eigen's, on the shapes of a model.
#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "apps/commands/commands.h"
#include "apps/report/progress.h"
#include "models/cost.h"
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

// The products of one image's prediction, each shape once, the largest first.
std::vector<Product> products_of(const GemmArguments& a) {
  std::vector<Product> products;
  std::set<std::array<std::int64_t, 3>> seen;
  for (const std::string& variant : a.variants)
    for (const StageCost& stage :
         segnext_cost(segnext_config(variant, 150), a.size.height, a.size.width).stages)
      for (const Product& p : stage.products)
        if (seen.insert({p.m, p.n, p.k}).second) products.push_back(p);
  std::stable_sort(products.begin(), products.end(), [](const Product& x, const Product& y) {
    return x.m * x.n * x.k > y.m * y.n * y.k;
  });
  return products;
}

// Fastest seconds of {ours, Eigen's} x W^T, x [m, k] and W [n, k] as layers hold them, in turns.
template <class T>
std::array<double, 2> fastest(const Product& p, DType dtype, int runs) {
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using View = Eigen::Map<const Matrix>;
  Backend& backend = backend_of(Device{});
  const Tensor x = backend.random_normal({p.m, p.k}, dtype, {.seed = 1});
  const Tensor w = backend.random_normal({p.n, p.k}, dtype, {.seed = 2});
  const std::vector<T> xs = x.to_vector<T>(), ws = w.to_vector<T>();
  const View a(xs.data(), p.m, p.k), b(ws.data(), p.n, p.k);
  Matrix c(p.m, p.n);
  std::array<double, 2> best{HUGE_VAL, HUGE_VAL};
  for (int i = -1; i < runs; ++i) {  // -1: warm-up
    Stopwatch clock;
    const Tensor y = backend.linear(x, w, {}, Activation::none, nullptr);
    const double ours = clock.seconds();
    clock = Stopwatch();
    c.noalias() = a * b.transpose();
    const double eigens = clock.seconds();
    if (i >= 0) best = {std::min(best[0], ours), std::min(best[1], eigens)};
  }
  return best;
}

void run_gemm_bench(const GemmArguments& a) {
  check_output(a.json_file);
  set_num_threads(a.threads);
  Eigen::setNbThreads(num_threads());
  fmt::print("{}, {} threads; Eigen {}.{}.{}\n", backend_of(Device{}).description(), num_threads(),
             EIGEN_WORLD_VERSION, EIGEN_MAJOR_VERSION, EIGEN_MINOR_VERSION);
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
      .shows_default();
  app.size("--size", a->size, "one image, WIDTHxHEIGHT [512]");
  app.number("--runs", a->runs, 1, 1000, "timed runs, of which the fastest is told");
  app.option("--threads", a->threads, "threads that compute; 0 = all cores").range(0, 1024);
  app.option("--json", a->json_file, "also write all figures to this file");
  app.does([a] { run_gemm_bench(*a); });
}

}  // namespace nextgrad
