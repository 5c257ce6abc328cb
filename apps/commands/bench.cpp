// segnext bench: where the time of a prediction and of a training step goes, and how near the
// machine's peak it is.
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands/bench_data.h"
#include "apps/commands/bench_gemm.h"
#include "apps/commands/commands.h"
#include "apps/report/progress.h"
#include "apps/settings/precision.h"
#include "models/segnext.h"
#include "nn/optim.h"
#include "nn/random.h"
#include "tensor/profile.h"
#include "tensor/threads.h"

namespace nextgrad {
namespace {

using nlohmann::json;

struct BenchArguments {
  std::string variant = "tiny", json_file;
  Placement placement;
  Size size{512, 512};
  int classes = 150, batch = 2, runs = 5, threads = 0;
  bool recompute = false, scaling = false;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

class Bench {
 public:
  explicit Bench(const BenchArguments& a)
      : runs_(a.runs), device_(Device::parse(a.placement.device)), backend_(backend_of(device_)) {
    auto config = segnext_config(a.variant, a.classes);
    config.encoder.recompute = a.recompute;
    model_ = std::make_unique<SegNeXt>(config);
    init_parameters(*model_, 0);
    model_->to(device_);
    set_precision(model_->backbone(), device_, a.placement.precision);
    optimizer_ =
        std::make_unique<AdamW>(model_->named_parameters(), AdamWOptions{}, segnext_rules());
    const Shape shape{a.batch, a.size.height, a.size.width, 3};
    images_ = backend_.random_normal(shape, DType::f32, {2, 0, 0, 0});
    one_ = images_.slice(0, 0, 1).contiguous();
    RandomStream random({3, 0, 0, 0});
    std::vector<std::int32_t> labels(static_cast<std::size_t>(shape.numel() / 3));
    for (auto& l : labels)
      l = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(a.classes)));
    labels_ = Tensor::from(labels, {a.batch, a.size.height, a.size.width}, device_);
  }

  // Seconds of a prediction of one image, or of all.
  double forward(bool one) {
    const NoGrad no_grad;
    model_->eval();
    const Stopwatch clock;
    model_->forward(Variable(one ? one_ : images_));
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

  // The same, recorded once and replayed (on a GPU): seconds of a replay.
  double replay(const std::function<void()>& work) {
    backend_.empty_cache();  // the recording has memory of its own
    const auto recording = backend_.record(work);
    std::vector<double> seconds;
    for (int i = -2; i < runs_; ++i) {
      const Stopwatch clock;
      recording->replay();
      backend_.synchronize();
      if (i >= 0) seconds.push_back(clock.seconds());
    }
    return median(seconds);
  }

  void measure_recorded(json& result) {
    if (device_.kind == Device::Kind::cpu) return;
    model_->eval();
    for (const auto& [key, images] :
         {std::pair("forward_one_recorded", one_), std::pair("forward_eval_recorded", images_)}) {
      result[key] = replay([&, &images = images] {
        const NoGrad no_grad;
        model_->forward(Variable(images));
      });
    }
    model_->train();
    result["step_recorded"] = replay([&] {
      const RandomScope random(0, 0);
      model_->zero_grad();
      model_->loss(model_->forward(Variable(images_)), labels_).backward();
      optimizer_->step(1e-4);
    });
    model_->zero_grad();
  }

  json measure() {
    std::vector<double> ones, forwards;
    std::array<std::vector<double>, 4> steps;
    for (int i = -1; i < runs_; ++i) {  // -1: warm-up
      if (i == 0) backend_.reset_peak();
      const auto s = step();
      for (std::size_t k = 0; k < 4 && i >= 0; ++k) steps[k].push_back(s[k]);
    }
    const auto peak = backend_.memory().peak, resident = peak_resident_bytes();
    for (int i = -1; i < runs_; ++i) {
      const double one = forward(true), all = forward(false);
      if (i < 0) continue;
      ones.push_back(one);
      forwards.push_back(all);
    }
    json result = {{"forward_one", median(ones)},
                   {"forward_eval", median(forwards)},
                   {"forward_train", median(steps[0])},
                   {"backward", median(steps[1])},
                   {"optimizer", median(steps[2])},
                   {"step", median(steps[3])},
                   {"peak_bytes", peak},
                   {"peak_resident_bytes", resident}};
    measure_recorded(result);
    return result;
  }

  struct Costs {
    std::map<std::string, OpCost> ops;
    double seconds = 0;
  };
  // Costs by op of the fastest run of one prediction, or of one training step.
  Costs profile(bool training) {
    Costs best;
    for (int i = 0; i < runs_; ++i) {
      const Profile profile;
      const double seconds = training ? step()[3] : forward(true);
      if (i == 0 || seconds < best.seconds) best = {profile.ops(), seconds};
    }
    return best;
  }
  Backend& backend() { return backend_; }

 private:
  int runs_;
  Device device_;
  Backend& backend_;
  std::unique_ptr<SegNeXt> model_;
  std::unique_ptr<AdamW> optimizer_;
  Tensor images_, one_, labels_;  // one_: the first image
};

// Prints the table and returns it. "least": the time that the peak arithmetic or the peak bandwidth
// allows, whichever is longer; the fewest bytes are counted as if they came from memory, so what
// caches hold can beat it.
json op_table(const char* title, const Bench::Costs& costs, const Roofline& peak) {
  std::vector<std::pair<std::string, OpCost>> sorted(costs.ops.begin(), costs.ops.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  fmt::print("\n{:<32}{:>7}{:>10}{:>8}{:>10}{:>8}{:>10}{:>9}\n", title, "calls", "ms", "share",
             "GFLOP/s", "GB/s", "least ms", "reached");
  const auto line = [&](const std::string& name, std::int64_t calls, double seconds, double flops,
                        double bytes, double least) {
    const double s = std::max(seconds, 1e-12);
    fmt::print("{:<32}{:>7}{:>10.2f}{:>7.1f}%{:>10.1f}{:>8.1f}{:>10.2f}{:>8.0f}%\n", name, calls,
               1e3 * seconds, 100 * seconds / costs.seconds, flops / s / 1e9, bytes / s / 1e9,
               1e3 * least, 100 * least / s);
  };
  json table = json::array();
  double known = 0, all_flops = 0, all_bytes = 0, all_least = 0;
  std::int64_t calls = 0;
  for (const auto& [name, cost] : sorted) {
    const double least = std::max(cost.flops / peak.flops, cost.bytes / peak.bytes);
    line(name, cost.calls, cost.seconds, cost.flops, cost.bytes, least);
    known += cost.seconds;
    all_flops += cost.flops;
    all_bytes += cost.bytes;
    all_least += least;
    calls += cost.calls;
    table.push_back({{"op", name},
                     {"calls", cost.calls},
                     {"seconds", cost.seconds},
                     {"flops", cost.flops},
                     {"bytes", cost.bytes},
                     {"least_seconds", least}});
  }
  line("between ops", 0, costs.seconds - known, 0, 0, 0);
  line("all", calls, costs.seconds, all_flops, all_bytes, all_least);
  return table;
}

void print_times(const BenchArguments& a, const json& result) {
  const auto line = [&](const std::string& label, const char* key, double images) {
    const double seconds = result[key].get<double>();
    fmt::print("{:<32}{:>10.1f} ms{:>10.2f} images/s\n", label, 1e3 * seconds, images / seconds);
  };
  line("prediction of one image", "forward_one", 1);
  line(fmt::format("prediction of {}", a.batch), "forward_eval", a.batch);
  line("training: forward and loss", "forward_train", a.batch);
  line("training: backward", "backward", a.batch);
  line("training: optimiser", "optimizer", a.batch);
  line("training step", "step", a.batch);
  if (result.contains("step_recorded")) {
    line("recorded: prediction of one", "forward_one_recorded", 1);
    line(fmt::format("recorded: prediction of {}", a.batch), "forward_eval_recorded", a.batch);
    line("recorded: training step", "step_recorded", a.batch);
  }
  fmt::print("{:<32}{:>13} tensors, {} whole process\n", "peak memory of a step",
             format_bytes(result["peak_bytes"].get<double>()),
             format_bytes(result["peak_resident_bytes"].get<double>()));
}

// Prediction of one image with 1, 2, 4, ... threads and at several sizes.
void run_scaling(const BenchArguments& a) {
  set_num_threads(a.threads);
  const int most = num_threads();
  json table = json::array();
  fmt::print("{:<10}{:>8}{:>12}{:>12}{:>22}\n", "size", "threads", "ms", "speed-up",
             "ms per million pixels");
  for (const std::int64_t size : {256, 512, 1024, 2048}) {
    BenchArguments one = a;
    one.size = {size, size};
    one.batch = 1;
    double alone = 0;
    for (int threads = 1; threads <= most;
         threads = threads < most ? std::min(2 * threads, most) : most + 1) {
      set_num_threads(threads);
      Bench bench(one);
      std::vector<double> seconds;
      for (int i = -1; i < a.runs; ++i) {
        const double s = bench.forward(true);
        if (i >= 0) seconds.push_back(s);
      }
      const double s = median(seconds);
      if (threads == 1) alone = s;
      fmt::print("{:<10}{:>8}{:>12.1f}{:>11.2f}x{:>22.1f}\n", size, threads, 1e3 * s, alone / s,
                 1e9 * s / static_cast<double>(size * size));
      table.push_back({{"size", size}, {"threads", threads}, {"seconds", s}});
      bench.backend().empty_cache();
    }
  }
  if (!a.json_file.empty()) write_json(a.json_file, json{{"scaling", table}});
}

void run_bench(const BenchArguments& a) {
  if (a.size.height == 0) fail_input("--size: must not be 0");
  check_output(a.json_file);
  if (a.scaling) return run_scaling(a);
  set_num_threads(a.threads);
  Bench bench(a);
  const Roofline peak = bench.backend().roofline();
  fmt::print("SegNeXt {}, {} classes, {} x {}x{}, on {}\n", a.variant, a.classes, a.batch,
             a.size.width, a.size.height, bench.backend().description());
  fmt::print("{:<32}{:>10.1f} GFLOP/s f32 in registers, {:.1f} GB/s b = 1.5 a\n",
             "this machine's peak", peak.flops / 1e9, peak.bytes / 1e9);
  json result = bench.measure();
  print_times(a, result);
  result["forward_ops"] = op_table("op, prediction of one image", bench.profile(false), peak);
  result["ops"] = op_table("op, training step", bench.profile(true), peak);
  result["peak_gflops"] = peak.flops / 1e9;
  result["peak_gbytes"] = peak.bytes / 1e9;
  result["images_per_second"] = a.batch / result["step"].get<double>();
  result["backend"] = bench.backend().description();
  result["precision"] = a.placement.precision;
  result["arguments"] = {{"variant", a.variant},
                         {"classes", a.classes},
                         {"batch", a.batch},
                         {"height", a.size.height},
                         {"width", a.size.width}};
  if (!a.json_file.empty()) write_json(a.json_file, result);
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
  app->add_flag("--scaling", a->scaling,
                "instead: prediction by 1, 2, 4, ... threads and at 256 to 2048 pixels square");
  app->add_option("--json", a->json_file, "also write all figures to this file");
  app->add_option("--threads", a->threads, "threads that compute; 0 = all cores")
      ->check(CLI::Range(0, 1024));
  add_placement(*app, a->placement);
  const Command data = data_bench_command(*app), gemm = gemm_bench_command(*app);
  app->require_subcommand(0, 1);
  app->footer(
      "Examples:\n  segnext bench --variant tiny --size 512 --batch 2\n  segnext bench data\n"
      "  segnext bench gemm");
  return {app, [a, data, gemm] {
            for (const Command& instead : {data, gemm})
              if (instead.app->parsed()) return instead.run();
            run_bench(*a);
          }};
}

}  // namespace nextgrad
