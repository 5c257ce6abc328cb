// Feeds damaged and hostile inputs to what reads a run's folder (tests/data has fuzz_data and
// fuzz_checkpoint for the rest):
//   fuzz_inputs KIND COUNT [SEED]        KIND: settings, log, state
// Input i depends on KIND, SEED and i alone. It ends with exit code 1 when anything but an Error of
// one line comes out, or one input takes over two seconds of the processor; such inputs are kept in
// finding-KIND-I.bin. Build it with ASan and UBSan: their complaints leave the input in crash.bin.
#include <sys/resource.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "apps/report/run_report.h"
#include "apps/settings/train_config.h"
#include "apps/training/run_log.h"
#include "data/files/file.h"
#include "data/weights/train_state.h"
#include "tensor/random.h"

extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

using namespace nextgrad;
namespace fs = std::filesystem;

namespace {

std::string current;  // what is being read

void save(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}
void save_crash() {
  save("crash.bin", current);
}

// What is fed: some good inputs, the words it is made of, and who reads it from a file.
struct Kind {
  std::vector<std::string> good, words;
  std::function<void(const std::string& path)> read;
};

Kind settings() {
  TrainConfig defaults;
  return {{config_text(defaults), "crop = \"480x352\"\nlr = 1e-3\nflip = 0\nphotometric = false\n"},
          {"crop", "lr", "=", "\"", "#", "\n", "-1", "1e400", "nan", "0x7fffffffffffffff", "true",
           "[[", "]]", "\"480x352\"", "\"\\U0010ff80\"", "\"\\ud800\""},
          [](const std::string& path) {
            TrainConfig config;
            const auto read = load_config(path, settings_of(config));
            // What was read is written and read again as the same.
            TrainConfig again;
            load_config_text(config_text(config), path, settings_of(again));
            check(config_text(again) == config_text(config), "settings change when written");
          }};
}

Kind logs() {
  return {
      {"{\"iteration\":1,\"loss\":0.5,\"lr\":0.1,\"grad_norm\":1,\"images_per_second\":9,"
       "\"wait_share\":0,\"peak_bytes\":100}\n{\"iteration\":1,\"validation\":{\"mIoU\":0.5,"
       "\"mAcc\":0.5,\"aAcc\":null,\"pixels\":9,\"classes\":[{\"name\":\"a\",\"iou\":0.5,"
       "\"accuracy\":null}],\"confusion\":[[1,2],[3,4]]}}\n",
       "{\"iteration\":2,\"validation\":{\"top1\":0.5,\"top5\":1,\"images\":4,\"accuracy\":[0.5,"
       "null],\"confusion\":[[1,2],[3,4]]}}\n{\"iteration\":3,\"skipped\":\"x\",\"why\":\"y\"}\n"},
      {"\"iteration\"", "\"loss\"", "\"validation\"", "\"classes\"", "\"confusion\"", "null", "[",
       "]", "{", "}", ":", ",", "\n", "1e400", "-1", "\"\"", "true", "\\ud800", "[[[[[["},
      [](const std::string& path) {
        const auto bytes = read_file(path);
        const std::uint32_t sum = crc32_of(std::span(bytes));
        const RunLog log(path, RunLog::Mark{bytes.size(), sum});
        ModelInfo info;
        info.classes = {"a", "b"};
        info.palette = {{1, 2, 3}, {4, 5, 6}};
        render_report(run_report(TrainConfig(), info, log.records(), {}, 10, 1));
        render_report(run_report(PretrainConfig(), info.classes, log.records(), {}, 10, 1));
      }};
}

Kind states(const fs::path& folder) {
  TrainState state;
  state.config = "seed = 3\n";
  state.tensors = {{"model.w", Tensor::from(std::vector<float>{1, 2, 3}, {3})},
                   {"step", Tensor::from(std::vector<std::int64_t>{5}, {1})}};
  state.extra = {{"log", "10 20"}, {"data", "{\"classes\":[\"a\"],\"splits\":[]}"}};
  const std::string path = (folder / "state.safetensors").string();
  save_train_state(path, state);
  const auto bytes = read_file(path);
  return {{std::string(bytes.begin(), bytes.end())},
          {"\"model.w\"", "\"dtype\":\"F16\"", "\"shape\":[", "{", "}", "[", "]", ",", "-1",
           "1e400", "18446744073709551615", "\"__metadata__\":{", "\"data_offsets\":[0,8]"},
          [](const std::string& file) { load_train_state(file); }};
}

class Mutator {
 public:
  Mutator(const Kind& kind, std::uint64_t seed, std::uint64_t i)
      : kind_(kind), random_({.seed = seed, .iteration = i}) {}

  std::string next() {
    std::string bytes = pick(kind_.good);
    if (below(10) == 0) bytes = bytes.substr(0, place(bytes)) + tail(pick(kind_.good));
    for (std::uint64_t times = 1 + below(6); times > 0; --times) {
      const std::size_t at = place(bytes),
                        n = std::min<std::size_t>(1 + below(16), bytes.size() - at);
      switch (below(7)) {
        case 0:
          bytes.erase(at, n);
          break;
        case 1:
          bytes.insert(at, bytes.substr(place(bytes), 1 + below(64)));
          break;
        case 2:
          bytes.insert(at, pick(kind_.words));
          break;
        case 3:
          bytes.replace(at, n, pick(kind_.words));
          break;
        case 4:
          bytes.resize(bytes.size() - std::min<std::size_t>(bytes.size(), below(40)));
          break;
        default:
          if (!bytes.empty())
            bytes[at] =
                static_cast<char>(below(3) == 0 ? bytes[at] ^ (1 << below(8)) : random_.next());
      }
    }
    return bytes;
  }

 private:
  std::uint64_t below(std::uint64_t n) { return random_.below(n); }
  std::size_t place(const std::string& bytes) { return bytes.empty() ? 0 : below(bytes.size()); }
  std::string tail(const std::string& bytes) { return bytes.substr(place(bytes)); }
  const std::string& pick(const std::vector<std::string>& all) { return all[below(all.size())]; }

  const Kind& kind_;
  RandomStream random_;
};

// "" for an input that was read or refused in one line; else what went wrong.
std::string trouble(const Kind& kind, const std::string& path, std::uint64_t& read) {
  try {
    kind.read(path);
    ++read;
  } catch (const InputError& e) {
    const std::string what = e.what();
    if (what.empty()) return "an error without a word";
  } catch (const std::exception& e) {
    return fmt::format("threw {}", e.what());
  }
  return {};
}

int fuzz(const std::string& name, std::uint64_t count, std::uint64_t seed) {
  const fs::path folder = fs::temp_directory_path() / fmt::format("fuzz-inputs-{}", getpid());
  fs::create_directories(folder);
  const std::map<std::string, std::function<Kind()>> kinds{
      {"settings", settings}, {"log", logs}, {"state", [&] { return states(folder); }}};
  check(kinds.contains(name), "{}: no such kind", name);
  const Kind kind = kinds.at(name)();
  const std::string path = (folder / "input").string();
  std::uint64_t read = 0, findings = 0;
  for (const auto& good : kind.good) {
    save(path, good);
    if (const auto what = trouble(kind, path, read); !what.empty()) fmt::print("good: {}\n", what);
  }
  read = 0;
  double slowest = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    current = Mutator(kind, seed, i).next();
    save(path, current);
    const std::clock_t begin = std::clock();
    std::string what = trouble(kind, path, read);
    const double took = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    slowest = std::max(slowest, took);
    if (what.empty() && took > 2) what = fmt::format("took {:.1f} s", took);
    if (what.empty()) continue;
    save(fmt::format("finding-{}-{}.bin", name, i), current);
    if (++findings <= 20) fmt::print("{} {}: {}\n", name, i, what);
  }
  fs::remove_all(folder);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  fmt::print(
      "{:<9} {} inputs, {} read, {} refused, {} findings, slowest {:.2f} s, {:.0f} s of the "
      "processor, peak memory {} MB\n",
      name, count, read, count - read - findings, findings, slowest,
      static_cast<double>(std::clock()) / CLOCKS_PER_SEC, usage.ru_maxrss / 1024);
  return findings > 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: fuzz_inputs KIND COUNT [SEED]\n");
    return 2;
  }
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(save_crash);
  try {
    return fuzz(argv[1], std::stoull(argv[2]), argc > 3 ? std::stoull(argv[3]) : 0);
  } catch (const std::exception& e) {
    fmt::print(stderr, "fuzz_inputs: {}\n", e.what());
    return 1;
  }
}
