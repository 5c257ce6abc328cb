// Captures (CUDA graphs) and transfers that run beside the computation.
#include <atomic>
#include <thread>

#include "autograd/arithmetic.h"
#include "autograd/reduce.h"
#include "models/segmenter.h"
#include "nn/linear.h"
#include "nn/optim.h"
#include "nn/random.h"
#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

std::vector<double> parameters_of(const Module& m) {
  std::vector<double> all;
  for (const Parameter& p : m.named_parameters()) {
    const auto v = p.value.value().to_vector<double>();
    all.insert(all.end(), v.begin(), v.end());
  }
  for (const Buffer& b : m.named_buffers()) {
    const auto v = b.value->to_vector<double>();
    all.insert(all.end(), v.begin(), v.end());
  }
  return all;
}

// A nano SegNeXt, its optimiser and two batches.
struct Training {
  Segmenter model;
  std::unique_ptr<AdamW> optimizer;
  Tensor images = Tensor::empty({2, 32, 32, 3}, DType::f32, test_device());
  Tensor labels = Tensor::empty({2, 32, 32}, DType::i32, test_device());
  Tensor loss, norm;

  explicit Training(DecoderConfig::Kind decoder)
      : model([&] {
          ModelConfig c = model_config("nano", 4);
          c.encoder.drop_path = 0.3;
          c.decoder.kind = decoder;
          return c;
        }()) {
    init_parameters(model, 1);
    model.to(test_device());
    optimizer =
        std::make_unique<AdamW>(model.named_parameters(), AdamWOptions{}, segmenter_rules());
  }
  void load(std::uint64_t iteration) {
    images.copy_(random_tensor<float>(images.shape(), iteration));
    labels.copy_(random_labels(labels.shape(), iteration, 4, 255));
  }
  void submit(std::uint64_t iteration, double lr) {
    const RandomScope random(7, iteration);
    model.zero_grad();
    const Variable value = model.loss(model(Variable(images)), labels);
    value.backward();
    loss = value.value();
    norm = grad_norm(model.named_parameters());
    optimizer->step(lr, {norm, 0.5});
  }
};

double rate(std::uint64_t iteration) {
  return 1e-3 / (1 + static_cast<double>(iteration));
}

void require_replays(DecoderConfig::Kind decoder) {
  Training plain(decoder), replayed(decoder);
  constexpr std::uint64_t kFirst = 2, kAll = 5;
  std::unique_ptr<Capture> capture;
  for (std::uint64_t i = 0; i < kAll; ++i) {
    plain.load(i);
    plain.submit(i, rate(i));
    replayed.load(i);
    if (i < kFirst) {
      replayed.submit(i, rate(i));
    } else {
      if (capture == nullptr) {
        capture = tested().capture([&] { replayed.submit(i, rate(i)); });
        REQUIRE(capture != nullptr);
        replayed.optimizer->count_steps(-1);
      }
      capture->replay(i - kFirst, rate(i) / rate(kFirst));
      replayed.optimizer->count_steps(1);
    }
    CHECK(replayed.loss.item() == doctest::Approx(plain.loss.item()).epsilon(1e-6));
    CHECK(replayed.norm.item() == doctest::Approx(plain.norm.item()).epsilon(1e-5));
  }
  const auto a = parameters_of(plain.model), b = parameters_of(replayed.model);
  CHECK(difference(b, a) < 1e-5);
  CHECK(plain.optimizer->slots()[0].steps == replayed.optimizer->slots()[0].steps);
}

}  // namespace

TEST_CASE("capture: a training step that is replayed is the step that is submitted") {
  using Kind = DecoderConfig::Kind;
  for (const Kind kind :
       {Kind::ham, Kind::cc, Kind::ema, Kind::nonlocal, Kind::msca, Kind::aspp, Kind::uper}) {
    CAPTURE(static_cast<int>(kind));
    require_replays(kind);
  }
}

TEST_CASE("capture: what is made of weights once is made again after a replayed step") {
  Training plain(DecoderConfig::Kind::ham), replayed(DecoderConfig::Kind::ham);
  const auto evaluated = [](Training& t) {  // with norms folded into weights, which are kept
    t.model.eval();
    const NoGrad off;
    const Tensor y = t.model(Variable(t.images)).value();
    t.model.train();
    return y;
  };
  for (Training* t : {&plain, &replayed}) {
    t->load(0);
    t->submit(0, 0.1);
    evaluated(*t);
  }
  const auto capture = tested().capture([&] { replayed.submit(1, 0.1); });
  const Tensor before = evaluated(replayed);
  capture->replay(0);
  plain.submit(1, 0.1);
  CHECK(difference(evaluated(replayed), evaluated(plain)) < 1e-4);
  CHECK(difference(evaluated(replayed), before) > 1e-2);
}

TEST_CASE("capture: a replayed step that is refused for its norm does not count") {
  struct Little {
    Linear layer{4, 3};
    std::unique_ptr<AdamW> optimizer;
    Tensor x = Tensor::empty({5, 4}, DType::f32, test_device());
    Little() {
      init_parameters(layer, 1);
      layer.to(test_device());
      optimizer = std::make_unique<AdamW>(layer.named_parameters());
    }
    void load(std::uint64_t i, bool finite = true) {
      x.copy_(random_tensor<float>(x.shape(), i));
      if (!finite) x.slice(0, 2, 3).fill_(HUGE_VAL);
    }
    void submit() {
      layer.zero_grad();
      sum(square(layer(Variable(x)))).backward();
      optimizer->step(0.1, {grad_norm(layer.named_parameters()), 1});
    }
  } plain, replayed;
  for (const std::uint64_t i : {1, 2, 3, 4, 5}) {
    plain.load(i);
    plain.submit();
  }
  replayed.load(1);
  replayed.submit();
  const auto capture = tested().capture([&] { replayed.submit(); });
  std::uint64_t replays = 0;
  for (const std::uint64_t i : {2, 0, 3, 0, 0, 4, 5}) {
    replayed.load(i, i != 0);
    capture->replay(replays++);
  }
  replayed.optimizer->count_steps(static_cast<std::int64_t>(replays) - 1);
  CHECK(difference(parameters_of(replayed.layer), parameters_of(plain.layer)) < 1e-6);
  CHECK(replayed.optimizer->state().back().value.to_vector<double>() == Doubles{5, 5});
}

TEST_CASE("several threads that wait at once learn of a fault once") {
  const Tensor x = random_tensor<float>({8}, 1);
  const Tensor wrong = Tensor::from(std::vector<std::int64_t>(8, 9), {8}, test_device());
  for (int round = 0; round < 300; ++round) {
    tested().gather(x, 0, wrong);
    std::atomic<int> ready{0}, told{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&] {
        for (++ready; ready < 4;) std::this_thread::yield();
        try {
          tested().synchronize();
        } catch (const Error&) {
          ++told;
        }
      });
    for (std::thread& t : threads) t.join();
    REQUIRE(told == 1);
  }
}

TEST_CASE("capture: what is captured is not done, must not wait, and keeps its memory") {
  Backend& b = tested();
  const Tensor x = random_tensor<float>({1000}, 3);
  Tensor y;
  const std::size_t before = b.memory().live;
  {
    const auto capture = b.capture([&] {
      const Tensor gone = b.unary(Unary::square, x, 0);
      y = b.unary(Unary::exp, gone, 0);
    });
    capture->replay();
    const auto first = y.to_vector<double>();
    // Other work of the same size does not get at the capture's memory.
    std::vector<Tensor> others;
    for (int i = 0; i < 8; ++i)
      others.push_back(Tensor::full({1000}, 7, DType::f32, test_device()));
    capture->replay();
    CHECK(y.to_vector<double>() == first);
    for (const Tensor& t : others) CHECK(t.to_vector<double>() == Doubles(1000, 7.0));
    CHECK_THROWS_AS(b.capture([&] { x.item(); }), Error);
    CHECK_THROWS_AS(b.capture([&] { x.to_vector<float>(); }), Error);
    capture->replay();  // a capture that failed has left nothing behind
    CHECK(y.to_vector<double>() == first);
  }
  y = {};
  CHECK(b.memory().live == before);
}

TEST_CASE("capture: random numbers go on with the iterations") {
  Backend& b = tested();
  Tensor y;
  const auto capture = b.capture([&] { y = b.random_uniform({100}, DType::f32, {1, 5, 2, 3}); });
  for (const std::uint64_t i : {0, 1, 4}) {
    capture->replay(i);
    CHECK(numbers(y) == numbers(b.random_uniform({100}, DType::f32, {1, 5 + i, 2, 3})));
  }
}

TEST_CASE("transfers: tensors arrive whole, in order, also from another thread") {
  Backend& b = tested();
  Tensor x = Tensor::empty({64, 33}, DType::f32, test_device());
  for (int round = 0; round < 20; ++round) {
    std::unique_ptr<Transfer> transfer;
    std::thread sender([&] {
      Tensor host = Tensor::full({64, 33}, round);
      transfer = b.send(host);
      host.fill_(-1);  // ours again
    });
    sender.join();
    transfer->receive(x);
    CHECK(x.to_vector<double>() == Doubles(64 * 33, static_cast<double>(round)));
  }
  const auto transfer = b.send(Tensor::zeros({3}));
  CHECK_THROWS_AS(transfer->receive(x), Error);
}

TEST_CASE("transfers: a buffer is used again although the host never waits") {
  std::vector<Tensor> all;
  for (int round = 0; round < 5; ++round) {
    all.push_back(Tensor::empty({64, 33}, DType::f32, test_device()));
    tested().send(Tensor::full({64, 33}, round))->receive(all.back());
  }
  for (std::size_t round = 0; round < all.size(); ++round)
    CHECK(numbers(all[round]) == Doubles(64 * 33, static_cast<double>(round)));
}
