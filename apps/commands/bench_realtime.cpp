// segnext bench --protocol realtime: how many frames a second, by a protocol that is told whole.
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands/bench.h"
#include "apps/commands/commands.h"
#include "apps/inference/inference.h"
#include "apps/report/progress.h"
#include "nn/init.h"
#include "tensor/threads.h"

namespace nextgrad {
namespace {

using nlohmann::json;

// The least value that so large a share of all is not above.
double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<std::size_t>(share * static_cast<double>(values.size()) + 0.999999);
  return values[std::clamp<std::size_t>(rank, 1, values.size()) - 1];
}

// Seconds of one frame: a decoded picture of 8 bits to the device, normalised; the network; the
// class of every pixel, back on the host.
struct Frame {
  double input, network, output;
  double all() const { return input + network + output; }
};

class RealTime {
 public:
  explicit RealTime(const BenchArguments& a) : device_(Device::parse(a.placement.device)) {
    model_ = std::make_unique<Segmenter>(model_config(a.model, a.classes));
    init_parameters(*model_, 0);
    model_->to(device_);
    set_precision(model_->encoder(), device_, a.placement.precision);
    model_->eval();
    forward_ = std::make_unique<ModelForward>(*model_);
  }

  Frame frame(const Image& picture) {
    const NoGrad no_grad;
    const Rectangle all[] = {{0, 0, picture.height, picture.width}};
    Stopwatch clock;
    const auto lap = [&] {
      backend_of(device_).synchronize();
      const double seconds = clock.seconds();
      clock = Stopwatch();
      return seconds;
    };
    Frame f{};
    const Tensor input = EvalTransform().normalized(picture, all).to(device_);
    f.input = lap();
    const Variable logits((*forward_)(input));
    f.network = lap();
    const Tensor labels = model_->predict(logits, picture.height, picture.width);
    const auto host = labels.to_vector<std::uint8_t>();
    f.output = lap();
    return f;
  }

 private:
  Device device_;
  std::unique_ptr<Segmenter> model_;
  std::unique_ptr<ModelForward> forward_;
};

Image noise(const Size& size) {
  RandomStream random({.seed = 7});
  Image picture{size.height, size.width, {}};
  picture.pixels.resize(static_cast<std::size_t>(size.height * size.width * 3));
  for (auto& v : picture.pixels) v = static_cast<std::uint8_t>(random.below(256));
  return picture;
}

json told(const std::string& name, const std::vector<double>& seconds) {
  const double middle = median(seconds), late = quantile(seconds, 0.99);
  fmt::print("  {:<52}{:>10.2f} ms{:>10.2f} ms{:>9.2f} FPS\n", name, 1e3 * middle, 1e3 * late,
             1 / middle);
  return {{"median_seconds", middle}, {"p99_seconds", late}, {"fps", 1 / middle}};
}

json measure(RealTime& real_time, const Size& size, int runs, int warm_up) {
  const Image picture = noise(size);
  ProgressLine progress(stderr, 0);
  std::vector<double> network, whole;
  const Stopwatch clock;
  for (int i = -warm_up; i < runs; ++i) {
    const Frame f = real_time.frame(picture);
    const int done = i + warm_up + 1, all = runs + warm_up;
    progress.update(fmt::format("{}  {} of {} frames  left {}", size.str(), done, all,
                                format_duration(clock.seconds() / done * (all - done))),
                    done == all);
    if (i < 0) continue;
    network.push_back(f.network);
    whole.push_back(f.all());
  }
  progress.finish();
  fmt::print("{}\n", size.str());
  return {{"width", size.width},
          {"height", size.height},
          {"network", told("network alone, input and logits on the device", network)},
          {"whole", told("from the decoded picture to every pixel's class", whole)}};
}

}  // namespace

void run_realtime_bench(const BenchArguments& a, bool own_runs) {
  const int runs = own_runs ? a.runs : 200, warm_up = std::min(20, runs);
  take_place(a.placement);
  RealTime real_time(a);
  const std::string place = backend_of(Device::parse(a.placement.device)).description();
  fmt::print(
      "{} {}, {} classes, random weights, batch 1, {}, on {}\n{} frames after {} to warm up; times "
      "of parts are between two waits for the device\n{:<54}{:>13}{:>13}\n",
      family_of(model_config(a.model, 1)), name_of(a.model), a.classes, a.placement.precision,
      place, runs, warm_up, "", "median", "99 %");
  json result = {{"protocol", "realtime"}, {"model", name_of(a.model)},
                 {"classes", a.classes},   {"precision", a.placement.precision},
                 {"backend", place},       {"runs", runs},
                 {"warm_up", warm_up},     {"threads", num_threads()},
                 {"sizes", json::array()}};
  // Of the paper's table 11, and of Cityscapes' own pictures.
  for (const Size& size : {Size{768, 1536}, Size{1024, 2048}})
    result["sizes"].push_back(measure(real_time, size, runs, warm_up));
  fmt::print(
      "the paper (table 11): SegNeXt-T, 768x1536, 25 FPS on an RTX 3090; it does not say what is "
      "timed, in which precision, or after what warm-up\n");
  write_json(a.json_file, result);
}

}  // namespace nextgrad
