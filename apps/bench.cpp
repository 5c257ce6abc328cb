// segnext bench: where the time of a training step goes, and how near the machine's peak it is.
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.h"
#include "apps/progress.h"
#include "models/segnext.h"
#include "nn/optim.h"
#include "nn/random.h"
#include "tensor/profile.h"

namespace nextgrad {
namespace {

using nlohmann::json;

struct BenchArguments {
  std::string variant = "tiny", device = "cpu", json_file;
  Size size{512, 512};
  int classes = 150, batch = 2, runs = 5, threads = 0;
  bool recompute = false;
};

struct Peak {
  double flops = 0, bytes = 0;  // per second
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// The best this backend does: a large matrix product, and a sum over arrays that no cache holds.
Peak measure_peak(Backend& backend) {
  Peak peak;
  const RandomKey key{1, 0, 0, 0};
  const std::int64_t n = 1024, m = 16 << 20;
  const Tensor a = backend.random_uniform({1, n, n}, DType::f32, key);
  const Tensor x = backend.random_uniform({m}, DType::f32, key);
  Tensor y = backend.random_uniform({m}, DType::f32, key);
  for (int i = 0; i < 6; ++i) {
    Stopwatch gemm;
    const Tensor c = backend.matmul(a, a, false, false);
    backend.synchronize();
    const auto cube = static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
    peak.flops = std::max(peak.flops, 2.0 * cube / gemm.seconds());
    Stopwatch stream;
    backend.axpy(y, x, 0.5);
    backend.synchronize();
    peak.bytes = std::max(peak.bytes, 3.0 * 4.0 * static_cast<double>(m) / stream.seconds());
  }
  return peak;
}

class Bench {
 public:
  explicit Bench(const BenchArguments& a)
      : runs_(a.runs), device_(Device::parse(a.device)), backend_(backend_of(device_)) {
    auto config = segnext_config(a.variant, a.classes);
    config.encoder.recompute = a.recompute;
    model_ = std::make_unique<SegNeXt>(config);
    init_parameters(*model_, 0);
    model_->to(device_);
    optimizer_ =
        std::make_unique<AdamW>(model_->named_parameters(), AdamWOptions{}, segnext_rules());
    const Shape shape{a.batch, a.size.height, a.size.width, 3};
    images_ = backend_.random_normal(shape, DType::f32, {2, 0, 0, 0});
    RandomStream random({3, 0, 0, 0});
    std::vector<std::int32_t> labels(static_cast<std::size_t>(shape.numel() / 3));
    for (auto& l : labels)
      l = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(a.classes)));
    labels_ = Tensor::from(labels, {a.batch, a.size.height, a.size.width}, device_);
  }

  double forward() {
    const NoGrad no_grad;
    model_->eval();
    const Stopwatch clock;
    model_->forward(Variable(images_));
    backend_.synchronize();
    const double seconds = clock.seconds();
    model_->train();
    return seconds;
  }

  // {forward and loss, backward, optimiser, all}, seconds.
  std::array<double, 4> step() {
    const RandomScope random(0, 0);
    const Stopwatch clock;
    model_->zero_grad();
    const Variable loss = model_->loss(model_->forward(Variable(images_)), labels_);
    backend_.synchronize();
    const double forward = clock.seconds();
    loss.backward();
    backend_.synchronize();
    const double backward = clock.seconds();
    optimizer_->step(1e-4);
    backend_.synchronize();
    const double all = clock.seconds();
    return {forward, backward - forward, all - backward, all};
  }

  json measure() {
    std::vector<double> forwards;
    std::array<std::vector<double>, 4> steps;
    for (int i = -1; i < runs_; ++i) {  // -1: warm-up
      const double f = forward();
      if (i >= 0) forwards.push_back(f);
    }
    for (int i = -1; i < runs_; ++i) {
      if (i == 0) backend_.reset_peak();
      const auto s = step();
      for (std::size_t k = 0; k < 4 && i >= 0; ++k) steps[k].push_back(s[k]);
    }
    return {{"forward_eval", median(forwards)},
            {"forward_train", median(steps[0])},
            {"backward", median(steps[1])},
            {"optimizer", median(steps[2])},
            {"step", median(steps[3])},
            {"peak_bytes", backend_.memory().peak},
            {"reserved_bytes", backend_.memory().reserved}};
  }

  // Costs of one step, by op.
  std::map<std::string, OpCost> profile(double& seconds) {
    Profile profile;
    seconds = step()[3];
    return profile.ops();
  }
  Backend& backend() { return backend_; }

 private:
  int runs_;
  Device device_;
  Backend& backend_;
  std::unique_ptr<SegNeXt> model_;
  std::unique_ptr<AdamW> optimizer_;
  Tensor images_, labels_;
};

// Prints the table and returns it. "of peak": the larger of the shares of the peak arithmetic and
// of the peak bandwidth; the smallest traffic is counted, so caches may exceed 100 %.
json op_table(const std::map<std::string, OpCost>& ops, double total, const Peak& peak) {
  std::vector<std::pair<std::string, OpCost>> sorted(ops.begin(), ops.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  fmt::print("\n{:<32}{:>7}{:>11}{:>8}{:>10}{:>9}{:>9}\n", "op, one training step", "calls", "ms",
             "share", "GFLOP/s", "GB/s", "of peak");
  json table = json::array();
  double known = 0;
  for (const auto& [name, cost] : sorted) {
    const double s = std::max(cost.seconds, 1e-12);
    const double flops = cost.flops / s, bytes = cost.bytes / s;
    const double share = std::max(flops / peak.flops, bytes / peak.bytes);
    known += cost.seconds;
    fmt::print("{:<32}{:>7}{:>11.2f}{:>7.1f}%{:>10.1f}{:>9.1f}{:>8.0f}%\n", name, cost.calls,
               1e3 * cost.seconds, 100 * cost.seconds / total, flops / 1e9, bytes / 1e9,
               100 * share);
    table.push_back({{"op", name},
                     {"calls", cost.calls},
                     {"seconds", cost.seconds},
                     {"gflops", flops / 1e9},
                     {"gbytes", bytes / 1e9},
                     {"of_peak", share}});
  }
  fmt::print("{:<32}{:>7}{:>11.2f}{:>7.1f}%\n", "between ops", "", 1e3 * (total - known),
             100 * (total - known) / total);
  return table;
}

void run_bench(const BenchArguments& a) {
  if (a.size.height == 0) fail_input("--size: must not be 0");
  check_output(a.json_file);
  set_num_threads(a.threads);
  Bench bench(a);
  const Peak peak = measure_peak(bench.backend());
  fmt::print("SegNeXt {}, {} classes, {} x {}x{}, on {}\n", a.variant, a.classes, a.batch,
             a.size.width, a.size.height, bench.backend().description());
  json result = bench.measure();
  const auto line = [&](const char* label, const char* key) {
    fmt::print("{:<24}{:>10.1f} ms\n", label, 1e3 * result[key].get<double>());
  };
  line("forward, evaluation", "forward_eval");
  line("forward, training", "forward_train");
  line("backward", "backward");
  line("optimiser", "optimizer");
  line("training step", "step");
  const double images = a.batch / result["step"].get<double>();
  fmt::print("{:<24}{:>10.2f} images/s\n", "", images);
  fmt::print("{:<24}{:>13} tensors, {} whole process\n", "peak memory of a step",
             format_bytes(result["peak_bytes"].get<double>()),
             format_bytes(static_cast<double>(peak_resident_bytes())));
  double total = 0;
  const auto ops = bench.profile(total);
  double flops = 0;
  for (const auto& [name, cost] : ops) flops += cost.flops;
  const double rate = flops / result["step"].get<double>();
  fmt::print("{:<24}{:>10.1f} GFLOP/s product of 1024x1024, {:.1f} GB/s y += a x\n",
             "this machine's peak", peak.flops / 1e9, peak.bytes / 1e9);
  fmt::print("{:<24}{:>10.1f} GFLOP/s = {:.0f} % of the peak\n", "the step", rate / 1e9,
             100 * rate / peak.flops);
  result["ops"] = op_table(ops, total, peak);
  result["peak_gflops"] = peak.flops / 1e9;
  result["peak_gbytes"] = peak.bytes / 1e9;
  result["share_of_peak"] = rate / peak.flops;
  result["images_per_second"] = images;
  result["peak_resident_bytes"] = peak_resident_bytes();
  result["backend"] = bench.backend().description();
  result["arguments"] = {{"variant", a.variant},
                         {"classes", a.classes},
                         {"batch", a.batch},
                         {"height", a.size.height},
                         {"width", a.size.width}};
  if (!a.json_file.empty()) write_output(a.json_file, result.dump(2) + "\n");
}

}  // namespace

Command bench_command(CLI::App& root) {
  CLI::App* app = root.add_subcommand("bench", "Time a model on this machine, op by op");
  auto a = std::make_shared<BenchArguments>();
  app->add_option("--variant", a->variant, "nano, tiny, small, base or large")
      ->capture_default_str();
  add_size(*app, "--size", a->size, "images, WIDTHxHEIGHT [512]");
  app->add_option("--batch", a->batch, "images a step")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app->add_option("--classes", a->classes, "number of classes")
      ->check(CLI::Range(1, 255))
      ->capture_default_str();
  app->add_option("--runs", a->runs, "timed runs, of which the median is told")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app->add_flag("--recompute", a->recompute, "recompute activations in the backward pass");
  app->add_option("--json", a->json_file, "also write all figures to this file");
  app->add_option("--threads", a->threads, "threads that compute; 0 = all cores")
      ->check(CLI::Range(0, 1024));
  app->add_option("--device", a->device, "where to compute")->capture_default_str();
  app->footer("Example:\n  segnext bench --variant tiny --size 512 --batch 2");
  return {app, [a] { run_bench(*a); }};
}

}  // namespace nextgrad
