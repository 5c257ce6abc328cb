// Training by several ranks, here threads of one process: exactly what one process does.
// tests/ranks runs the same between processes.
#include <doctest/doctest.h>

#include "tests/ranks/parallel.h"
#include "tests/thread_ranks.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

WorstOfRun compare(int ranks, const ParallelRun& run) {
  Alone alone;
  const ParallelResult one = train(alone, run);
  WorstOfRun w;
  ThreadRanks::run(ranks, [&](Communicator& everyone) {
    const ParallelResult mine = train(everyone, run);
    everyone.barrier();
    if (everyone.is_root()) w = worst(mine, one);
  });
  MESSAGE(ranks << " ranks, " << name_of(run.dtype) << ": losses " << w.losses << ", norms "
                << w.norms << ", tensors " << w.tensors << " (" << w.where << ")");
  return w;
}

}  // namespace

TEST_CASE("2, 3 and 4 ranks train like one, in f64, batch not divisible") {
  for (const int ranks : {2, 3, 4}) {
    const WorstOfRun w = compare(ranks, {});
    CHECK(w.losses < 1e-10);
    CHECK(w.norms < 1e-10);
    CHECK(w.tensors < 1e-10);
  }
}

TEST_CASE("two ranks train like one: recomputed, and in one bucket") {
  const WorstOfRun w =
      compare(2, {.batch = 3, .accumulate = 1, .recompute = true, .bucket_bytes = 1 << 30});
  CHECK(w.losses < 1e-10);
  CHECK(w.tensors < 1e-10);
}

TEST_CASE("two ranks train SegFormer like one, batch not divisible") {
  ModelConfig b0 = model_config("b0", 7);
  b0.encoder.channels = {8, 16, 20, 32};
  b0.decoder.width = 32;
  const WorstOfRun w = compare(2, {.batch = 3, .accumulate = 1, .model = b0});
  CHECK(w.losses < 1e-10);
  CHECK(w.norms < 1e-10);
  CHECK(w.tensors < 1e-10);
}

TEST_CASE("two ranks train like one in f32, to rounding") {
  const WorstOfRun w = compare(2, {.steps = 1, .dtype = DType::f32});
  CHECK(w.losses < 1e-5);
  CHECK(w.norms < 1e-4);
}

TEST_CASE("two ranks train every decoder like one") {
  using Kind = DecoderConfig::Kind;
  for (const Kind kind : {Kind::cc, Kind::ema, Kind::nonlocal, Kind::msca, Kind::aspp, Kind::uper}) {
    CAPTURE(static_cast<int>(kind));
    const std::vector<int> stages = kind == Kind::aspp   ? std::vector{4}
                                    : kind == Kind::uper ? std::vector{1, 2, 3, 4}
                                                         : std::vector{2, 3, 4};
    ModelConfig model = model_config("nano", 7);
    model.decoder = {.kind = kind, .stages = stages, .width = 32, .ham = {.rank = 8}};
    const WorstOfRun w = compare(
        2, {.batch = 3, .accumulate = 2, .steps = 2, .recompute = true, .model = model});
    CHECK(w.losses < 1e-10);
    CHECK(w.tensors < 1e-9);
  }
}
