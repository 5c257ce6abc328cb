// segnext bench --ranks: what several processes cost and gain, and from that what more would.
//
//   step(N) = step(1) + o + S l log2 N + t(last) + max(0, t(all) - t(last) - backward)
//   t(bytes) = 2 (N - 1) / N bytes / bandwidth + 2 l log2 N
//
// step(1): of a rank while the others compute too. t: a sum of gradients, which the backward hides
// but for the last bucket. S: sums of batch norm, which all wait for; l: the time of a sum of one
// number by two ranks. o: what else it costs (copies, ranks that do not come at the same moment),
// the rest of the step that was measured.
#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "apps/commands/bench.h"
#include "apps/commands/commands.h"
#include "apps/report/progress.h"
#include "models/segmenter.h"
#include "nn/gradient_sums.h"
#include "nn/random.h"
#include "nn/share.h"

namespace nextgrad {
namespace {

using nlohmann::json;

// A training step of `batch` images a rank.
class RankBench {
 public:
  RankBench(const BenchArguments& a, Communicator& hosts)
      : hosts_(hosts),
        device_(local_device(a.placement.device, hosts)),
        everyone_(backend_of(device_).connect(hosts)),
        model_(model_config(a.model, a.classes)),
        share_(share_of(*everyone_, a.batch * hosts.size())) {
    init_parameters(model_, 0);
    model_.to(device_);
    set_precision(model_.encoder(), device_, a.placement.precision);
    optimizer_ =
        std::make_unique<AdamW>(model_.named_parameters(), AdamWOptions{}, segmenter_rules());
    images_ = backend_of(device_).random_normal({a.batch, a.size.height, a.size.width, 3},
                                                DType::f32, {2, 0, 0, 0});
    labels_ = Tensor::zeros({a.batch, a.size.height, a.size.width}, DType::i32, device_);
    sums_ = std::make_unique<GradientSums>(model_.named_parameters(), *everyone_, a.bucket << 20);
  }

  struct Step {
    double seconds, backward, waited,
        exposed;  // the last: waiting for gradients after the backward
  };
  // Of this rank by itself, or of all together.
  Step step(bool together) {
    const RandomScope random(0, 0);
    const ShareScope scope(together ? share_ : Share{});
    const double waited = hosts_.waited();
    const Stopwatch clock;
    model_.zero_grad();
    const Variable loss = model_.loss(model_.forward(Variable(images_)), labels_);
    loss.value();
    backend_of(device_).synchronize();
    const double forward = clock.seconds();
    if (together) sums_->begin();
    loss.backward();
    const Stopwatch after;
    if (together) sums_->finish();
    const double exposed = after.seconds(), backward = clock.seconds() - forward;
    optimizer_->step(1e-4, {grad_norm(model_.named_parameters()), 0});
    backend_of(device_).synchronize();
    return {clock.seconds(), backward, hosts_.waited() - waited, exposed};
  }
  // Seconds of a sum of so many numbers.
  double sum(std::int64_t numbers, int times) {
    Tensor t = Tensor::zeros({numbers}, DType::f32, device_);
    everyone_->sum(t);
    const Stopwatch clock;
    for (int i = 0; i < times; ++i) everyone_->sum(t);
    backend_of(device_).synchronize();
    return clock.seconds() / times;
  }
  const GradientSums& sums() const { return *sums_; }
  std::int64_t batch_norms() const {
    std::int64_t n = 0;
    for (const auto& [name, module] : model_.named_modules())
      n += dynamic_cast<const BatchNorm2d*>(module) != nullptr;
    return n;
  }

 private:
  Communicator& hosts_;
  Device device_;
  std::unique_ptr<Communicator> everyone_;
  Segmenter model_;
  Share share_;
  std::unique_ptr<AdamW> optimizer_;
  std::unique_ptr<GradientSums> sums_;
  Tensor images_, labels_;
};

struct Model {
  double step, backward, overhead, latency, norms, buckets, bytes, bandwidth;
  double sum(double of_bytes, double ranks) const {
    return 2 * (ranks - 1) / ranks * of_bytes / bandwidth + 2 * latency * std::log2(ranks);
  }
  double operator()(double ranks) const {
    const double last = sum(bytes / buckets, ranks), all = sum(bytes, ranks);
    return step + overhead + norms * latency * std::log2(ranks) + last +
           std::max(0.0, all - last - backward);
  }
};

void print_predictions(const Model& measured, const std::vector<double>& gigabits, json& result) {
  fmt::print("\n{:<32}", "predicted efficiency, ranks:");
  const int sizes[] = {2, 4, 8, 64, 512};
  for (const int ranks : sizes) fmt::print("{:>9}", fmt::format("{}", ranks));
  fmt::print("\n");
  json rows = json::array();
  for (const double gigabit : gigabits) {
    Model m = measured;
    if (gigabit > 0) m.bandwidth = gigabit * 1e9 / 8;
    fmt::print("{:<32}", gigabit > 0 ? fmt::format("  {} Gbit/s", gigabit) : "  this network");
    json row = {{"gigabit", gigabit}, {"efficiency", json::object()}};
    for (const int ranks : sizes) {
      fmt::print("{:>9.2f}", m.step / m(ranks));
      row["efficiency"][std::to_string(ranks)] = m.step / m(ranks);
    }
    rows.push_back(row);
    fmt::print("\n");
  }
  result["predicted"] = rows;
}

}  // namespace

void run_rank_bench(const BenchArguments& a) {
  Communicator& hosts = world();
  RankBench bench(a, hosts);
  const auto n = static_cast<double>(hosts.size());
  std::vector<double> alone, beside, together, backward, waited, exposed;
  const auto timed = [&](std::vector<double>& to, const std::function<double()>& work) {
    hosts.barrier();
    const double seconds = work();
    hosts.barrier();
    to.push_back(seconds);
  };
  bench.step(true);
  // One after the other, again and again: a machine that others use is not the same for long.
  for (int i = 0; i < a.runs; ++i) {
    timed(alone, [&] { return hosts.is_root() ? bench.step(false).seconds : 0; });
    timed(beside, [&] { return bench.step(false).seconds; });
    RankBench::Step all;
    timed(together, [&] { return (all = bench.step(true)).seconds; });
    backward.push_back(all.backward);
    waited.push_back(all.waited);
    exposed.push_back(all.exposed);
  }
  const double latency = bench.sum(1, 200);
  constexpr std::int64_t kLarge = 1 << 22;
  const double large = bench.sum(kLarge, 10);
  const double bandwidth = n > 1 ? 2 * (n - 1) / n * kLarge * 4 / large : 0;
  const auto numbers = bench.sums().bytes() / 4, norms = 2 * bench.batch_norms();
  const double sums_alone = n > 1 ? bench.sum(numbers, 5) : 0;
  const double t1 = median(alone), tb = median(beside), tn = median(together);
  const double hidden = sums_alone > 0 ? std::clamp(1 - median(exposed) / sums_alone, 0.0, 1.0) : 0;
  fmt::print("{} {}, {} x {}x{} a rank, {} ranks of {} threads on {}\n",
             family_of(model_config(a.model, 1)), name_of(a.model), a.batch, a.size.width, a.size.height,
             hosts.size(), num_threads(),
             backend_of(local_device(a.placement.device, hosts)).description());
  const auto line = [](const char* what, double value, const char* unit) {
    fmt::print("{:<44}{:>10.1f} {}\n", what, value, unit);
  };
  line("step of one rank, the others at rest", 1e3 * t1, "ms");
  line("step of one rank, the others at theirs", 1e3 * tb, "ms");
  line("step together", 1e3 * tn, "ms");
  line("  of that waiting for others", 1e3 * median(waited), "ms");
  line("efficiency", 100 * t1 / tn, "%");
  line("  of what the machine allows", 100 * tb / tn, "%");
  line("gradients summed a step", static_cast<double>(bench.sums().bytes()) / 1e6, "MB");
  line("  in buckets", static_cast<double>(bench.sums().buckets()), "");
  line("  alone", 1e3 * sums_alone, "ms");
  line("  hidden by the backward", 100 * hidden, "%");
  line("sums of batch norm a step", static_cast<double>(norms), "");
  line("latency of a sum", 1e6 * latency, "us");
  line("bandwidth of a sum, each way", bandwidth / 1e9, "GB/s");
  json result = {{"ranks", hosts.size()},
                 {"alone", t1},
                 {"beside", tb},
                 {"together", tn},
                 {"waited", median(waited)},
                 {"hidden", hidden},
                 {"bytes", bench.sums().bytes()},
                 {"buckets", bench.sums().buckets()},
                 {"sums_alone", sums_alone},
                 {"batch_norm_sums", norms},
                 {"latency", latency},
                 {"bandwidth", bandwidth},
                 {"efficiency", t1 / tn}};
  if (n > 1) {
    Model m{.step = tb,
            .backward = median(backward),
            .overhead = 0,
            .latency = latency / std::log2(n),
            .norms = static_cast<double>(norms),
            .buckets = static_cast<double>(bench.sums().buckets()),
            .bytes = static_cast<double>(bench.sums().bytes()),
            .bandwidth = bandwidth};
    m.overhead = tn - m(n);
    std::vector<double> gigabits{0};
    std::ranges::copy(a.gigabits, std::back_inserter(gigabits));
    print_predictions(m, gigabits, result);
  }
  write_json(a.json_file, result);
}

}  // namespace nextgrad
