// segnext bench: where the time of a prediction and of a training step goes, and how near the
// machine's peak it is.
#include "apps/commands/bench.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <tuple>

#include "apps/commands/commands.h"
#include "apps/help.h"
#include "apps/report/progress.h"
#include "apps/settings/precision.h"
#include "models/segmenter.h"
#include "nn/optim.h"
#include "nn/random.h"
#include "tensor/profile.h"
#include "tensor/threads.h"

namespace nextgrad {
namespace {

using nlohmann::json;

// The median of `runs` measurements that follow on a few to warm up.
double median_of(int runs, const std::function<double()>& measure, int warm_up = 1) {
  for (; warm_up > 0; --warm_up) measure();
  std::vector<double> values(static_cast<std::size_t>(runs));
  std::generate(values.begin(), values.end(), measure);
  return median(values);
}

class Bench {
 public:
  explicit Bench(const BenchArguments& a)
      : runs_(a.runs), device_(Device::parse(a.placement.device)), backend_(backend_of(device_)) {
    auto config = model_config(a.model, a.classes);
    config.encoder.recompute = a.recompute;
    model_ = std::make_unique<Segmenter>(config);
    init_parameters(*model_, 0);
    model_->to(device_);
    set_precision(model_->encoder(), device_, a.placement.precision);
    optimizer_ =
        std::make_unique<AdamW>(model_->named_parameters(), AdamWOptions{}, segmenter_rules());
    const Shape shape{a.batch, a.size.height, a.size.width, 3};
    images_ = backend_.random_normal(shape, DType::f32, {2, 0, 0, 0});
    one_ = images_.slice(0, 0, 1).contiguous();
    RandomStream random({3, 0, 0, 0});
    std::vector<std::int32_t> labels(static_cast<std::size_t>(shape.numel() / 3));
    for (auto& l : labels)
      l = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(a.classes)));
    labels_ = Tensor::from(labels, {a.batch, a.size.height, a.size.width}, device_);
  }

  // Seconds of a prediction of one image.
  double forward_one() { return forward(one_); }

  json measure() {
    step();  // to warm up
    backend_.reset_peak();
    std::array<std::vector<double>, 4> steps;
    for (int i = 0; i < runs_; ++i) {
      const auto seconds = step();
      for (std::size_t k = 0; k < 4; ++k) steps[k].push_back(seconds[k]);
    }
    json result = {
        {"peak_bytes", backend_.memory().peak}, {"peak_resident_bytes", peak_resident_bytes()},
        {"forward_train", median(steps[0])},    {"backward", median(steps[1])},
        {"optimizer", median(steps[2])},        {"step", median(steps[3])}};
    result["forward_one"] = median_of(runs_, [&] { return forward(one_); });
    result["forward_eval"] = median_of(runs_, [&] { return forward(images_); });
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
      const double seconds = training ? step()[3] : forward(one_);
      if (i == 0 || seconds < best.seconds) best = {profile.ops(), seconds};
    }
    return best;
  }
  Backend& backend() { return backend_; }

 private:
  void predict(const Tensor& images) {
    const NoGrad no_grad;
    model_->forward(Variable(images)).value();
  }
  Variable loss() {
    model_->zero_grad();
    return model_->loss(model_->forward(Variable(images_)), labels_);
  }

  // Seconds of some work, to its end.
  template <class Work>
  double timed(const Work& work) {
    const Stopwatch clock;
    work();
    backend_.synchronize();
    return clock.seconds();
  }
  double forward(const Tensor& images) {
    model_->eval();
    const double seconds = timed([&] { predict(images); });
    model_->train();
    return seconds;
  }

  // {forward and loss, backward, optimiser, all}, seconds.
  std::array<double, 4> step() {
    const RandomScope random(0, 0);
    Variable value;
    const double forward = timed([&] { value = loss(); });
    const double backward = timed([&] { value.backward(); });
    const double optimizer = timed([&] { optimizer_->step(1e-4); });
    return {forward, backward, optimizer, forward + backward + optimizer};
  }

  // The same, captured once and replayed (on a GPU): seconds of a replay.
  double replay(const std::function<void()>& work) {
    backend_.empty_cache();  // the capture has memory of its own
    const auto capture = backend_.capture(work);
    return median_of(
        runs_, [&] { return timed([&] { capture->replay(); }); }, 2);
  }

  void measure_recorded(json& result) {
    if (device_.kind == Device::Kind::cpu) return;
    model_->eval();
    result["forward_one_recorded"] = replay([&] { predict(one_); });
    result["forward_eval_recorded"] = replay([&] { predict(images_); });
    model_->train();
    result["step_recorded"] = replay([&] {
      const RandomScope random(0, 0);
      loss().backward();
      optimizer_->step(1e-4);
    });
    model_->zero_grad();
  }

  int runs_;
  Device device_;
  Backend& backend_;
  std::unique_ptr<Segmenter> model_;
  std::unique_ptr<AdamW> optimizer_;
  Tensor images_, one_, labels_;  // one_: the first image
};

// The time that the peak arithmetic or the peak bandwidth allows, whichever is longer; the fewest
// bytes are counted as if they came from memory, so what caches hold can beat it. Matrix products
// are held to what the machine multiplies at best in their numbers.
double least_seconds(const OpCost& cost, const Roofline& peak) {
  const double bf16 = cost.bf16_product_flops, f32 = cost.f32_product_flops;
  return std::max((cost.flops - bf16 - f32) / peak.flops + bf16 / peak.bf16_product_flops +
                      f32 / peak.f32_product_flops,
                  cost.bytes / peak.bytes);
}

// Prints the table and returns it.
json op_table(const char* title, const Bench::Costs& costs, const Roofline& peak) {
  std::vector<std::pair<std::string, OpCost>> sorted(costs.ops.begin(), costs.ops.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  fmt::print("\n{:<32}{:>7}{:>10}{:>8}{:>10}{:>8}{:>10}{:>9}\n", title, "calls", "ms", "share",
             "GFLOP/s", "GB/s", "least ms", "reached");
  const auto line = [&](const std::string& name, const OpCost& cost, double least) {
    const double s = std::max(cost.seconds, 1e-12);
    fmt::print("{:<32}{:>7}{:>10.2f}{:>7.1f}%{:>10.1f}{:>8.1f}{:>10.2f}{:>8.0f}%\n", name,
               cost.calls, 1e3 * cost.seconds, 100 * cost.seconds / costs.seconds,
               cost.flops / s / 1e9, cost.bytes / s / 1e9, 1e3 * least, 100 * least / s);
  };
  json table = json::array();
  OpCost all;
  double all_least = 0;
  for (const auto& [name, cost] : sorted) {
    const double least = least_seconds(cost, peak);
    line(name, cost, least);
    all = {all.calls + cost.calls, all.launches + cost.launches, all.seconds + cost.seconds,
           all.flops + cost.flops, all.bytes + cost.bytes};
    all_least += least;
    table.push_back(
        {{"op", name},
         {"calls", cost.calls},
         {"launches", cost.launches},
         {"seconds", cost.seconds},
         {"flops", cost.flops},
         {"bytes", cost.bytes},
         {"product_flops", {{"bf16", cost.bf16_product_flops}, {"f32", cost.f32_product_flops}}},
         {"least_seconds", least}});
  }
  line("between ops", {.seconds = costs.seconds - all.seconds}, 0);
  all.seconds = costs.seconds;
  line("all", all, all_least);
  if (all.launches > 0)  // on a GPU
    fmt::print("{:<32}{:>7} launches, {:.3f} GB\n", "", all.launches, all.bytes / 1e9);
  return table;
}

void print_times(const BenchArguments& a, const json& result) {
  const std::tuple<std::string, const char*, double> lines[] = {
      {"prediction of one image", "forward_one", 1},
      {fmt::format("prediction of {}", a.batch), "forward_eval", a.batch},
      {"training: forward and loss", "forward_train", a.batch},
      {"training: backward", "backward", a.batch},
      {"training: optimiser", "optimizer", a.batch},
      {"training step", "step", a.batch},
      {"recorded: prediction of one", "forward_one_recorded", 1},
      {fmt::format("recorded: prediction of {}", a.batch), "forward_eval_recorded", a.batch},
      {"recorded: training step", "step_recorded", a.batch}};
  for (const auto& [label, key, images] : lines)
    if (const double seconds = result.value(key, 0.0); seconds > 0)
      fmt::print("{:<32}{:>10.1f} ms{:>10.2f} images/s\n", label, 1e3 * seconds, images / seconds);
  fmt::print("{:<32}{:>13} tensors, {} whole process\n", "peak memory of a step",
             format_bytes(result["peak_bytes"].get<double>()),
             format_bytes(result["peak_resident_bytes"].get<double>()));
}

// Prediction of one image with 1, 2, 4, ... threads and at several sizes.
void run_scaling(const BenchArguments& a) {
  set_num_threads(a.placement.threads);
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
      const double s = median_of(a.runs, [&] { return bench.forward_one(); });
      if (threads == 1) alone = s;
      fmt::print("{:<10}{:>8}{:>12.1f}{:>11.2f}x{:>22.1f}\n", size, threads, 1e3 * s, alone / s,
                 1e9 * s / static_cast<double>(size * size));
      table.push_back({{"size", size}, {"threads", threads}, {"seconds", s}});
      bench.backend().empty_cache();
    }
  }
  write_json(a.json_file, json{{"scaling", table}});
}

void run_bench(const BenchArguments& a) {
  if (a.size.height == 0) fail_input("--size: must not be 0");
  if (a.scaling) return run_scaling(a);
  take_place(a.placement);
  if (a.ranks) return run_rank_bench(a);
  Bench bench(a);
  const Roofline peak = bench.backend().roofline();
  fmt::print("{} {}, {} classes, {} x {}x{}, on {}\n", family_of(model_config(a.model, 1)),
             name_of(a.model), a.classes, a.batch, a.size.width, a.size.height,
             bench.backend().description());
  fmt::print("{:<32}{:>10.1f} GFLOP/s f32 in registers, {:.1f} GB/s b = 1.5 a\n",
             "this machine's peak", peak.flops / 1e9, peak.bytes / 1e9);
  if (peak.bf16_product_flops != peak.flops)
    fmt::print("{:<32}{:>10.1f} GFLOP/s bf16, {:.1f} GFLOP/s f32\n", "  of matrix products",
               peak.bf16_product_flops / 1e9, peak.f32_product_flops / 1e9);
  json result = bench.measure();
  print_times(a, result);
  result["forward_ops"] = op_table("op, prediction of one image", bench.profile(false), peak);
  result["ops"] = op_table("op, training step", bench.profile(true), peak);
  result["peak_gflops"] = peak.flops / 1e9;
  result["peak_gbytes"] = peak.bytes / 1e9;
  result["peak_product_gflops"] = {{"bf16", peak.bf16_product_flops / 1e9},
                                   {"f32", peak.f32_product_flops / 1e9}};
  result["images_per_second"] = a.batch / result["step"].get<double>();
  result["backend"] = bench.backend().description();
  result["precision"] = a.placement.precision;
  result["arguments"] = {{"variant", a.model.variant}, {"model", name_of(a.model)},
                         {"classes", a.classes},       {"batch", a.batch},
                         {"height", a.size.height},    {"width", a.size.width}};
  write_json(a.json_file, result);
}

}  // namespace

void bench_command(Command root) {
  const Command app =
      root.subcommand("bench", "Time a model on this machine, op by op", help::bench);
  auto a = std::make_shared<BenchArguments>();
  a->model.variant = "tiny";
  app.settings(settings_of(a->model), a->given);
  app.size("--size", a->size, "images, WIDTHxHEIGHT [512]");
  app.number("--batch", a->batch, 1, 4096, "images a step");
  app.number("--classes", a->classes, 1, 255, "number of classes");
  app.number("--runs", a->runs, 1, 1000, "timed runs, of which the median is told");
  app.flag("--recompute", a->recompute, "recompute activations in the backward pass");
  app.flag("--scaling", a->scaling,
           "instead: prediction by 1, 2, 4, ... threads and at 256 to 2048 pixels square");
  app.flag("--ranks", a->ranks,
           "instead, under mpirun: what sums between processes take, what the backward hides of "
           "them, and what more processes would gain")
      .excludes(app.named("--scaling"));
  app.number("--bucket", a->bucket, 1, 4096, "with --ranks: MiB of gradients summed at once");
  app.option("--gigabits", a->gigabits, "with --ranks: networks to predict for: 1,10,100")
      .range(1e-3, 1e6);
  app.option("--json", a->json_file, "also write all figures to this file");
  add_placement(app, a->placement);
  data_bench_command(app);
  gemm_bench_command(app);
  app.needs_subcommand(false);
  app.option("--protocol", a->protocol,
             "steps: of predictions and of training steps; realtime: of single pictures of "
             "1536x768 and 2048x1024, 200 runs, as frames a second")
      .one_of({"steps", "realtime"})
      .excludes(app.named("--ranks"))
      .excludes(app.named("--scaling"))
      .excludes(app.named("--size"))
      .excludes(app.named("--batch"));
  app.does([a, app] {
    if (app.has_subcommand()) return;
    apply_options(a->given, settings_of(a->model));
    check_output(a->json_file);
    if (a->protocol == "realtime") return run_realtime_bench(*a, app.given("--runs"));
    run_bench(*a);
  });
}

}  // namespace nextgrad
