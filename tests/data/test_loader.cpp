#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <set>
#include <thread>

#include "data/augment/random_use.h"
#include "data/stream/loader.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;

namespace {

// Picture i is of colour i everywhere; label i too. Loading takes uneven time.
class Numbered : public Dataset {
 public:
  explicit Numbered(std::int64_t n, std::set<std::int64_t> bad = {}) : n_(n), bad_(bad) {
    classes_ = {"a"};
    palette_ = {{0, 0, 0}};
  }
  std::int64_t size() const override { return n_; }
  std::string name(std::int64_t i) const override { return std::to_string(i); }
  Sample load(std::int64_t i) const override {
    ++loads;
    if (bad_.contains(i)) fail_input("sample {} is bad", i);
    std::this_thread::sleep_for(std::chrono::microseconds(i * 37 % 5 * 100));
    const auto v = static_cast<std::uint8_t>(i);
    return {name(i),
            {6, 6, std::vector<std::uint8_t>(108, v)},
            {6, 6, std::vector<std::uint8_t>(36, v)}};
  }
  mutable std::atomic<int> loads{0};

 private:
  std::int64_t n_;
  std::set<std::int64_t> bad_;
};

TrainTransform small() {
  TrainTransform t;
  t.crop_h = 5;
  t.crop_w = 4;
  t.cat_max_ratio = 1;
  return t;
}

LoaderConfig config(int workers, std::int64_t begin, std::int64_t end, std::uint64_t seed = 1) {
  LoaderConfig c;
  c.batch = 3;
  c.seed = seed;
  c.start_iteration = begin;
  c.end_iteration = end;
  c.workers = workers;
  c.depth = 2;
  return c;
}

using Stream = std::vector<std::pair<std::vector<float>, std::vector<std::int32_t>>>;

Stream stream(const Dataset& data, const LoaderConfig& c) {
  Loader loader(crops_of(data, small()), c);
  Stream result;
  for (std::int64_t i = c.start_iteration; !loader.done(); ++i) {
    const Batch batch = loader.next();
    CHECK(batch.iteration == i);
    CHECK(batch.images.shape() == Shape{3, 5, 4, 3});
    CHECK(batch.labels.shape() == Shape{3, 5, 4});
    result.emplace_back(batch.images.to_vector<float>(), batch.labels.to_vector<std::int32_t>());
  }
  CHECK_THROWS_AS(loader.next(), Error);
  return result;
}

}  // namespace

TEST_CASE("the stream is the same for any number of workers and after a restart") {
  const Numbered data(11);
  const Stream reference = stream(data, config(0, 0, 12));
  CHECK(reference.size() == 12);
  for (const int workers : {1, 3, 8}) CHECK(stream(data, config(workers, 0, 12)) == reference);
  for (const std::int64_t at : {1, 5, 11, 12}) {
    const Stream rest = stream(data, config(2, at, 12));
    CHECK(rest == Stream(reference.begin() + at, reference.end()));
  }
  CHECK(stream(data, config(2, 0, 12, 2)) != reference);
}

TEST_CASE("several processes make their own samples of each batch: together the whole stream") {
  const Numbered data(11);
  LoaderConfig whole = config(0, 0, 9);
  whole.batch = 5;
  Loader all(crops_of(data, small()), whole);
  std::vector<std::vector<std::int64_t>> shares = {{0, 1}, {2, 4}, {3}};
  std::vector<std::unique_ptr<Loader>> parts;
  for (const auto& samples : shares) {
    LoaderConfig c = whole;
    c.samples = samples;
    c.workers = static_cast<int>(parts.size());
    parts.push_back(std::make_unique<Loader>(crops_of(data, small()), c));
  }
  const int before = data.loads;
  for (int i = 0; i < 9; ++i) {
    const Batch batch = all.next();
    for (std::size_t p = 0; p < parts.size(); ++p) {
      const Batch part = parts[p]->next();
      REQUIRE(part.images.dim(0) == std::ssize(shares[p]));
      CHECK(part.iteration == i);
      for (std::int64_t j = 0; j < part.images.dim(0); ++j) {
        const std::int64_t k = shares[p][static_cast<std::size_t>(j)];
        CHECK(part.images.slice(0, j, j + 1).to_vector<float>() ==
              batch.images.slice(0, k, k + 1).to_vector<float>());
        CHECK(part.labels.slice(0, j, j + 1).to_vector<float>() ==
              batch.labels.slice(0, k, k + 1).to_vector<float>());
      }
    }
  }
  CHECK(data.loads - before <= 2 * 9 * 5);  // nobody loads what it does not deliver
  for (const std::vector<std::int64_t>& wrong : {std::vector<std::int64_t>{1, 0}, {5}, {-1, 2}}) {
    LoaderConfig c = whole;
    c.samples = wrong;
    CHECK_THROWS_AS(Loader(crops_of(data, small()), c), Error);
  }
}

TEST_CASE("every epoch shows every picture once, in another order") {
  const Numbered data(7);
  TrainTransform t = small();
  t.scale_min = t.scale_max = 2;  // no padding: the label tells the picture
  LoaderConfig c = config(2, 0, 7);
  Loader loader(crops_of(data, t), c);
  std::vector<std::int32_t> seen;
  for (int i = 0; i < 7; ++i) {
    const auto labels = loader.next().labels.to_vector<std::int32_t>();
    for (std::size_t k = 0; k < 3; ++k) seen.push_back(labels[k * 20]);
  }
  std::set<std::vector<std::int32_t>> orders;
  for (int epoch = 0; epoch < 3; ++epoch) {
    const std::vector<std::int32_t> order(seen.begin() + epoch * 7, seen.begin() + epoch * 7 + 7);
    CHECK(std::set<std::int32_t>(order.begin(), order.end()).size() == 7);
    orders.insert(order);
  }
  CHECK(orders.size() == 3);
  CHECK(epoch_permutation(1, 0, 1) == std::vector<std::int64_t>{0});
}

TEST_CASE("a worker's exception comes out of next(), for the batch it belongs to") {
  const Numbered data(9, {4});
  for (const int workers : {0, 1, 3}) {
    Loader loader(crops_of(data, small()), config(workers, 0, 3));
    std::int64_t delivered = 0;
    const std::string message = input_error([&] {
      for (;;) loader.next(), ++delivered;
    });
    CHECK(message == "sample 4 is bad");
    const auto order = epoch_permutation(1, 0, 9);
    CHECK(delivered == std::distance(order.begin(), std::find(order.begin(), order.end(), 4)) / 3);
  }
}

TEST_CASE("damaged samples give their place to the next, the same for any number of workers") {
  const Numbered data(9, {4, 5, 8}), whole(9);
  TrainTransform t = small();
  t.scale_min = t.scale_max = 2;  // no padding: the label tells the picture
  const auto run = [&](const Dataset& from, int workers, std::int64_t begin) {
    LoaderConfig c = config(workers, begin, 6);
    c.skip_damaged = true;
    Loader loader(crops_of(from, t), c);
    std::vector<std::string> seen;
    while (!loader.done()) {
      const Batch batch = loader.next();
      const auto labels = batch.labels.to_vector<std::int32_t>();
      for (std::size_t k = 0; k < 3; ++k) seen.push_back(std::to_string(labels[k * 20]));
      for (const DamagedSample& d : batch.damaged) seen.push_back(d.name + "! " + d.message);
    }
    return seen;
  };
  std::vector<std::string> wanted;
  for (std::int64_t epoch = 0; epoch < 2; ++epoch) {
    const auto order = epoch_permutation(1, epoch, 9);
    for (std::size_t batch = 0; batch < 3; ++batch) {
      std::vector<std::string> damaged;
      for (std::size_t k = 0; k < 3; ++k) {
        std::int64_t index = order[batch * 3 + k];
        for (; index == 4 || index == 5 || index == 8; index = (index + 1) % 9)
          damaged.push_back(fmt::format("{}! sample {} is bad", index, index));
        wanted.push_back(std::to_string(index));
      }
      wanted.insert(wanted.end(), damaged.begin(), damaged.end());
    }
  }
  for (const int workers : {0, 1, 4}) CHECK(run(data, workers, 0) == wanted);
  const std::vector<std::string> rest = run(data, 2, 4);
  REQUIRE(rest.size() < wanted.size());
  CHECK(std::equal(rest.rbegin(), rest.rend(), wanted.rbegin()));
  CHECK(run(whole, 2, 0).size() == 18);  // nothing to report
}

TEST_CASE("a data set of nothing but damaged samples is an error, and what is no damage too") {
  const Numbered bad(3, {0, 1, 2});
  for (const int workers : {0, 2}) {
    LoaderConfig c = config(workers, 0, 5);
    c.skip_damaged = true;
    Loader loader(crops_of(bad, small()), c);
    const std::string message = input_error([&] { loader.next(); });
    CHECK(message.find("none of the 3 samples can be read; the first: sample") == 0);
    CHECK(bad.loads <= (workers == 0 ? 3 : 21));
  }
  class OutOfMemory : public Numbered {
   public:
    using Numbered::Numbered;
    Sample load(std::int64_t) const override { throw std::bad_alloc(); }
  };
  const OutOfMemory hungry(3);
  LoaderConfig c = config(1, 0, 5);
  c.skip_damaged = true;
  Loader loader(crops_of(hungry, small()), c);
  CHECK_THROWS_AS(loader.next(), std::bad_alloc);
}

TEST_CASE("the queue is bounded, and a loader can go at any time") {
  const Numbered data(50);
  for (int round = 0; round < 30; ++round) {
    Loader loader(crops_of(data, small()), config(1 + round % 4, 0, 1000000));
    for (int i = 0; i < round % 3; ++i) loader.next();
    if (round % 5 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  const Numbered counted(50);
  {
    Loader loader(crops_of(counted, small()), config(3, 0, 1000000));
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    CHECK(counted.loads <= 6);  // 2 batches of 3
    loader.next();
  }
  CHECK(counted.loads <= 12);
}

TEST_CASE("numbers that make no sense are refused") {
  const Numbered data(5), empty(0);
  CHECK_THROWS_AS(Loader(crops_of(empty, small()), config(1, 0, 1)), Error);
  LoaderConfig c = config(1, 0, 1);
  c.batch = 0;
  CHECK_THROWS_AS(Loader(crops_of(data, small()), c), Error);
  CHECK_THROWS_AS(Loader(crops_of(data, small()), config(-1, 0, 1)), Error);
  CHECK_THROWS_AS(Loader(crops_of(data, small()), config(1, 2, 1)), Error);
  Loader none(crops_of(data, small()), config(1, 4, 4));
  CHECK(none.done());
}
