// A batch that several ranks share: random numbers, batch norm, sums of gradients.
#include <doctest/doctest.h>

#include "autograd/arithmetic.h"
#include "autograd/gradcheck.h"
#include "autograd/norm.h"
#include "autograd/recompute.h"
#include "autograd/reduce.h"
#include "nn/dropout.h"
#include "nn/gradient_sums.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "nn/random.h"
#include "nn/share.h"
#include "tensor/ops.h"
#include "tests/compare.h"
#include "tests/thread_ranks.h"

using namespace nextgrad;
using nextgrad::test::difference;

namespace {

Tensor normal(const Shape& shape, std::uint32_t use) {
  return backend_of({}).random_normal(shape, DType::f64, {8, 0, use, 0});
}

// The rows of a share, in its order.
Tensor rows_of(const Tensor& all, const Share& share) {
  std::vector<double> mine;
  for (const auto& [begin, end] : share.samples)
    for (const double v : all.slice(0, begin, end).to_vector<double>()) mine.push_back(v);
  Shape shape = all.shape();
  shape[0] = share.count();
  return Tensor::from(mine, shape);
}

}  // namespace

TEST_CASE("shares: every sample once, as even as can be, mirrored with its partner") {
  for (const int size : {1, 2, 3, 5})
    for (const bool mirrored : {false, true})
      for (const std::int64_t total : {10, 11, 16, 23}) {
        std::vector<int> seen(static_cast<std::size_t>(total), 0);
        ThreadRanks::run(size, [&](Communicator& everyone) {
          const Share share = share_of(everyone, total, mirrored);
          CHECK(share.total == total);
          for (int r = 0; r < size; ++r) {
            const Share other = share_of(everyone, total, mirrored, r);
            CHECK(std::abs(other.count() - total / size) <= (mirrored ? 3 : 1));
            if (!everyone.is_root()) continue;
            std::vector<std::int64_t> own;
            for (const auto& [begin, end] : other.samples)
              for (std::int64_t k = begin; k < end; ++k) own.push_back(k);
            for (const std::int64_t k : own) ++seen[static_cast<std::size_t>(k)];
            for (std::size_t i = 0; mirrored && i < own.size(); ++i)
              CHECK(own[i] + own[own.size() - 1 - i] == total - 1);
          }
        });
        CHECK(std::ranges::count(seen, 1) == total);
      }
  ThreadRanks::run(4, [](Communicator& everyone) {
    CHECK_THROWS_AS(share_of(everyone, 3), InputError);
    CHECK_THROWS_AS(share_of(everyone, 7, true), InputError);
  });
}

TEST_CASE("shares: random numbers are those of the samples, whoever has them") {
  const Shape shape{11, 3, 5};
  const auto draw = [](const Shape& of, const RandomKey& key) {
    return backend_of({}).random_normal(of, DType::f64, key);
  };
  Tensor whole, doubled;
  {
    const RandomScope random(3, 4);
    whole = draw_share(shape, draw);
    doubled = draw_share({22, 5}, draw);  // two rows a sample
  }
  for (const int size : {2, 3, 5})
    for (const bool mirrored : {false, true})
      ThreadRanks::run(size, [&](Communicator& everyone) {
        const Share share = share_of(everyone, 11, mirrored);
        const RandomScope random(3, 4);
        const ShareScope scope(share);
        const Tensor mine = draw_share({share.count(), 3, 5}, draw);
        CHECK(difference(mine, rows_of(whole, share)) == 0);
        const Tensor two = draw_share({2 * share.count(), 5}, draw);
        const Tensor wanted = rows_of(doubled.reshape({11, 10}), share).reshape(two.shape());
        CHECK(difference(two, wanted) == 0);
      });
  ThreadRanks::run(2, [&](Communicator& everyone) {
    const ShareScope scope(share_of(everyone, 11));
    CHECK_THROWS_AS(draw_share({7, 2}, draw), Error);
  });
}

TEST_CASE("batch norm of all ranks: values, statistics and gradients are those of the whole batch") {
  const Tensor x = normal({7, 3, 2, 5}, 0) * 3.0 + 50.0, gamma = normal({5}, 1),
               beta = normal({5}, 2), seed = normal({7, 3, 2, 5}, 3);
  const Variable whole(x, true), g(gamma, true), b(beta, true);
  const Variable y = batch_norm(whole, g, b, 1e-5);
  const auto [_, mean, rstd] = x.backend().batch_norm(x, gamma, beta, 1e-5);
  y.backward(seed);
  for (const int size : {2, 3, 4})
    for (const double centre : {0.0, 48.0})
      ThreadRanks::run(size, [&](Communicator& everyone) {
        const Share share = share_of(everyone, 7);
        const Variable mine(rows_of(x, share), true), mg(gamma, true), mb(beta, true);
        Tensor m, r;
        const Variable part = sync_batch_norm(mine, mg, mb, 1e-5, everyone, 42,
                                              Tensor::full({5}, centre, DType::f64), &m, &r);
        CHECK(difference(part.value(), rows_of(y.value(), share)) < 1e-11);
        CHECK(difference(m, mean) < 1e-12);
        CHECK(difference(r, rstd) < 1e-11);
        part.backward(rows_of(seed, share));
        CHECK(difference(mine.grad(), rows_of(whole.grad(), share)) < 1e-11);
        Tensor dgamma = mg.grad().clone(), dbeta = mb.grad().clone();
        everyone.sum(dgamma);
        everyone.sum(dbeta);
        CHECK(difference(dgamma, g.grad()) < 1e-11);
        CHECK(difference(dbeta, b.grad()) < 1e-11);
      });
}

TEST_CASE("batch norm of all ranks: gradcheck across them") {
  // Every rank sees the loss of all, and each in turn moves its numbers.
  ThreadRanks::run(3, [](Communicator& everyone) {
    const auto use = static_cast<std::uint32_t>(everyone.rank());
    const Tensor x = normal({2 + everyone.rank(), 2, 3}, 10 + use), seed = normal(x.shape(), 20);
    const Tensor gamma = normal({3}, 30), beta = normal({3}, 31);
    const std::int64_t rows = 2 * (2 + 3 + 4);
    const auto loss = [&](const Tensor& at) {
      const NoGrad no_grad;
      const Variable y = sync_batch_norm(Variable(at), Variable(gamma), Variable(beta), 1e-3,
                                         everyone, rows, Tensor::zeros({3}, DType::f64));
      Tensor all = sum_to(square(y.value()) * seed, {});
      everyone.sum(all);
      return all.item();
    };
    const Variable v(x, true);
    const Variable y = sync_batch_norm(v, Variable(gamma, true), Variable(beta, true), 1e-3,
                                       everyone, rows, Tensor::zeros({3}, DType::f64));
    y.backward(y.value() * seed * 2.0);
    for (int r = 0; r < 3; ++r)
      for (std::size_t i = 0; i < 4; ++i) {
        double sides[2];
        for (const int side : {0, 1}) {
          auto values = x.to_vector<double>();
          if (r == everyone.rank()) values[i] += side == 0 ? 1e-5 : -1e-5;
          sides[side] = loss(Tensor::from(values, x.shape()));
        }
        const double numeric = (sides[0] - sides[1]) / 2e-5;
        if (r == everyone.rank())
          CHECK(v.grad().to_vector<double>()[i] == doctest::Approx(numeric).epsilon(1e-6));
      }
  });
}

TEST_CASE("sums of gradients: parameters that are used twice, late, or in none of the losses") {
  struct Net : Module {
    Net()
        : a(parameter("a", {3}, Init::constant(1))),
          b(parameter("b", {3}, Init::constant(2))),
          unused(parameter("unused", {4}, Init::constant(0))) {}
    Variable a, b, unused;
  };
  ThreadRanks::run(3, [](Communicator& everyone) {
    Net net;
    net.to(DType::f64);
    const double own = everyone.rank() + 1;
    const Tensor x = Tensor::full({3}, own, DType::f64);
    for (const std::int64_t bytes : {1, 1000}) {
      GradientSums sums(net.named_parameters(), everyone, bytes);
      net.zero_grad();
      // Only accumulated: b is not in the last loss.
      sum(net.b * Variable(x)).backward();
      sums.begin();
      sum(net.a * net.a * Variable(x) + net.a).backward();
      sums.finish();
      CHECK(net.a.grad().to_vector<double>() == std::vector<double>(3, 2 * 6 + 3));
      CHECK(net.b.grad().to_vector<double>() == std::vector<double>(3, 6));
      CHECK(!net.unused.grad().defined());
      CHECK(sums.buckets() == (bytes == 1 ? 2 : 1));
    }
  });
  Alone alone;
  Net net;
  GradientSums sums(net.named_parameters(), alone, 1);
  sums.begin();
  sum(net.a).backward();
  sums.finish();
  CHECK(sums.buckets() == 0);
}
