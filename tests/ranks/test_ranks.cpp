// Collectives between processes, and training by them: started by mpirun, any number of ranks.
#include <doctest/doctest.h>

#include <chrono>
#include <thread>

#include "tests/device.h"
#include "tests/ranks/parallel.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

// Of rank r: small whole numbers, whose sums are exact in every dtype.
std::vector<double> numbers(std::int64_t n, int rank) {
  std::vector<double> v(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i)
    v[static_cast<std::size_t>(i)] = static_cast<double>((i * 7 + rank * 3) % 11);
  return v;
}

std::vector<double> expected_sum(std::int64_t n, int size) {
  std::vector<double> sum(static_cast<std::size_t>(n));
  for (int r = 0; r < size; ++r) {
    const auto v = numbers(n, r);
    for (std::size_t i = 0; i < v.size(); ++i) sum[i] += v[i];
  }
  return sum;
}

}  // namespace

TEST_CASE("sums of any dtype and size, several under way at once") {
  Communicator& hosts = world();
  const Device device = test_device();
  const auto everyone = backend_of(device).connect(hosts);
  for (const DType dtype :
       {DType::f32, DType::f64, DType::bf16, DType::i64, DType::i32, DType::u8}) {
    std::vector<Tensor> tensors;
    std::vector<std::unique_ptr<Communicator::Pending>> sums;
    const std::vector<std::int64_t> sizes = {1, 2, 1000, 100'003, 3, 300'000, 17};
    for (const std::int64_t n : sizes)
      tensors.push_back(Tensor::from(numbers(n, hosts.rank()), {n}).to(dtype).to(device));
    for (Tensor& t : tensors) sums.push_back(everyone->start_sum(t));
    for (std::size_t i = sizes.size(); i-- > 0;) sums[i]->wait();
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      CAPTURE(name_of(dtype));
      CAPTURE(sizes[i]);
      CHECK(tensors[i].to_vector<double>() == expected_sum(sizes[i], hosts.size()));
    }
  }
}

TEST_CASE("sums have the same bits on all ranks and at every run, in the order of the ranks") {
  Communicator& hosts = world();
  const auto everyone = backend_of(test_device()).connect(hosts);
  for (const std::int64_t n : {100, 50'000}) {
    const auto of_rank = [&](int rank) {
      return backend_of({}).random_normal({n}, DType::f32,
                                          {5, static_cast<std::uint64_t>(rank), 0, 0});
    };
    Tensor in_order = of_rank(0);
    for (int r = 1; r < hosts.size(); ++r) in_order = in_order + of_rank(r);
    for (int repeat = 0; repeat < 5; ++repeat) {
      Tensor t = of_rank(hosts.rank()).to(test_device());
      everyone->sum(t);
      CHECK(t.to_vector<float>() == in_order.to_vector<float>());
    }
  }
}

TEST_CASE("broadcasts, gatherings, texts and barriers") {
  Communicator& hosts = world();
  const auto everyone = backend_of(test_device()).connect(hosts);
  const int last = hosts.size() - 1;
  Tensor t = Tensor::full({3, 2}, hosts.rank(), DType::f64, test_device());
  everyone->broadcast(t, last);
  CHECK(t.to_vector<double>() == std::vector<double>(6, last));
  const Tensor mine = Tensor::full({2}, hosts.rank(), DType::i32, test_device());
  const Tensor all = everyone->gather(mine);
  CHECK(all.shape() == Shape{hosts.size(), 2});
  for (int r = 0; r < hosts.size(); ++r)
    CHECK(all.slice(0, r, r + 1).to_vector<std::int32_t>() == std::vector<std::int32_t>(2, r));
  CHECK(hosts.broadcast(hosts.is_root() ? "of root" : "another") == "of root");
  CHECK(hosts.broadcast(std::string()) == "");
  const auto texts = hosts.gather(std::string(static_cast<std::size_t>(hosts.rank()), 'x'));
  REQUIRE(texts.size() == static_cast<std::size_t>(hosts.size()));
  for (std::size_t r = 0; r < texts.size(); ++r) CHECK(texts[r] == std::string(r, 'x'));
  everyone->barrier();
  const LocalRank local = local_rank(hosts);
  CHECK(local.rank < local.size);
}

TEST_CASE(
    "captured collectives are done again at each replay, beside the work and between others") {
  Communicator& hosts = world();
  const Device device = test_device();
  if (device.kind == Device::Kind::cpu || hosts.size() == 1) return;
  const auto everyone = backend_of(device).connect(hosts);
  if (!everyone->capturable()) return;  // a build without NCCL
  const std::int64_t n = 1000;
  Tensor x = Tensor::zeros({n}, DType::f32, device), result, all;
  const auto capture = backend_of(device).capture([&] {
    Tensor twice = x * 2.0, more = x + 1.0;
    const auto first = everyone->start_sum(twice), second = everyone->start_sum(more);
    const Tensor beside = x * x;
    second->wait();
    first->wait();
    result = twice + more * 100.0 + beside * 10000.0;
    all = everyone->gather(twice - x);
  });
  REQUIRE(capture != nullptr);
  for (int i = 0; i < 3; ++i) {
    const auto values = [&](int rank) { return numbers(n, rank + 5 * i); };
    x.copy_(Tensor::from(values(hosts.rank()), {n}).to(DType::f32).to(device));
    capture->replay();
    Tensor plain = x.clone();
    everyone->sum(plain);
    const auto sum = plain.to_vector<double>(), got = result.to_vector<double>(),
               gathered = all.to_vector<double>(), own = values(hosts.rank());
    std::vector<double> expected(sum.size()), expected_all;
    for (std::size_t k = 0; k < sum.size(); ++k)
      expected[k] = 2 * sum[k] + 100 * (sum[k] + hosts.size()) + 10000 * own[k] * own[k];
    for (int r = 0; r < hosts.size(); ++r)
      for (std::size_t k = 0; k < sum.size(); ++k)
        expected_all.push_back(2 * sum[k] - values(r)[k]);
    CHECK(got == expected);
    CHECK(gathered == expected_all);
  }
}

TEST_CASE("the ranks train like one") {
  Communicator& hosts = world();
  Alone alone;
  const bool cpu = test_device().kind == Device::Kind::cpu;
  for (const DType dtype : {DType::f64, DType::f32}) {
    ParallelRun run{.dtype = dtype, .device = test_device()};
    if (!cpu) run.side = 32;  // emulated, it takes its time
    if (!cpu) run.steps = 2;
    if (dtype == DType::f32) run.steps = 1;
    const ParallelResult one = train(alone, run), together = train(hosts, run);
    const WorstOfRun w = worst(together, one);
    MESSAGE(std::string(cpu ? "cpu" : "cuda")
            << " " << std::string(name_of(dtype)) << ", " << hosts.size() << " ranks: losses "
            << w.losses << ", norms " << w.norms << ", tensors " << w.tensors << " (" << w.where
            << ")");
    CHECK(w.losses < (dtype == DType::f64 ? 1e-10 : 1e-5));
    CHECK(w.norms < (dtype == DType::f64 ? 1e-10 : 1e-4));
    if (dtype == DType::f64) CHECK(w.tensors < 1e-10);
  }
}

TEST_CASE("the ranks train like one in bf16, to its rounding") {
  if (test_device().kind == Device::Kind::cpu) return;
  Communicator& hosts = world();
  Alone alone;
  const ParallelRun run{
      .steps = 2, .side = 32, .dtype = DType::f32, .device = test_device(), .bf16 = true};
  const WorstOfRun w = worst(train(hosts, run), train(alone, run));
  MESSAGE(hosts.size() << " ranks in bf16: losses " << w.losses << ", norms " << w.norms);
  CHECK(w.losses < 1e-3);
  CHECK(w.norms < 1e-1);
}

TEST_CASE("whoever asks to stop stops all") {
  Communicator& hosts = world();
  CHECK(hosts.stop_requested() == 0);
  hosts.barrier();
  if (hosts.rank() == hosts.size() - 1) hosts.request_stop(2);
  hosts.check_peers();
  const auto begin = std::chrono::steady_clock::now();
  while (hosts.stop_requested() == 0 &&
         std::chrono::steady_clock::now() - begin < std::chrono::seconds(20))
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(hosts.stop_requested() == 2);
}
