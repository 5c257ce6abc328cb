// Feeds damaged and hostile inputs to what reads a run's folder (tests/data has fuzz_data and
// fuzz_checkpoint for the rest):
//   fuzz_inputs KIND COUNT [SEED]        KIND: settings, log, state
// Input i depends on KIND, SEED and i alone. It ends with exit code 1 when anything but an Error of
// one line comes out, or one input takes over two seconds of the processor; such inputs are kept in
// finding-KIND-I.bin. Build it with ASan and UBSan: their complaints leave the input in crash.bin.
#include <unistd.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "apps/report/report.h"
#include "apps/settings/run_config.h"
#include "apps/training/run_log.h"
#include "data/files/file.h"
#include "data/weights/train_state.h"
#include "tests/data/fuzzing.h"

using namespace nextgrad;
using namespace nextgrad::testing;
namespace fs = std::filesystem;

namespace {

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
        render_report(run_report(PretrainConfig(), info, log.records(), {}, 10, 1));
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

std::string mutant(const Kind& kind, std::uint64_t seed, std::uint64_t i) {
  Draw draw(seed, i);
  std::string bytes = draw.pick(kind.good);
  if (draw.below(10) == 0) bytes = draw.spliced(bytes, draw.pick(kind.good));
  return draw.damaged(std::move(bytes), 1 + draw.below(6), kind.words);
}

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

Campaign fuzz(const std::string& name, std::uint64_t count, std::uint64_t seed) {
  const fs::path folder = fs::temp_directory_path() / fmt::format("fuzz-inputs-{}", getpid());
  fs::create_directories(folder);
  const std::map<std::string, std::function<Kind()>> kinds{
      {"settings", settings}, {"log", logs}, {"state", [&] { return states(folder); }}};
  check(kinds.contains(name), "{}: no such kind", name);
  const Kind kind = kinds.at(name)();
  const std::string path = (folder / "input").string();
  std::uint64_t good = 0;
  for (const auto& bytes : kind.good) {
    save(path, bytes);
    if (const auto what = trouble(kind, path, good); !what.empty()) fmt::print("good: {}\n", what);
  }
  Campaign campaign;
  for (std::uint64_t i = 0; i < count; ++i) {
    current = mutant(kind, seed, i);
    save(path, current);
    campaign.judge(fmt::format("{}-{}", name, i),
                   [&] { return trouble(kind, path, campaign.read); });
  }
  fs::remove_all(folder);
  campaign.report(fmt::format("of kind {}, ", name));
  return campaign;
}

}  // namespace

int main(int argc, char** argv) {
  return fuzz_main(argc, argv, 2, "fuzz_inputs KIND COUNT [SEED]", [](const auto& a) {
    return fuzz(a[0], std::stoull(a[1]), a.size() > 2 ? std::stoull(a[2]) : 0);
  });
}
