#include "data/loader.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>

#include "data/random_use.h"
#include "tensor/error.h"

namespace nextgrad {

std::vector<std::int64_t> epoch_permutation(std::uint64_t seed, std::int64_t epoch,
                                            std::int64_t n) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  RandomStream random({seed, static_cast<std::uint64_t>(epoch), kUseShuffle, 0});
  for (std::size_t i = order.size(); i > 1; --i)  // Fisher and Yates
    std::swap(order[i - 1], order[static_cast<std::size_t>(random.below(i))]);
  return order;
}

// Workers take samples in order and write them into the batch they belong to, one of `depth` slots
// used in turn; a slot is taken again once next() has copied it out. The mutex guards everything
// but the slots' numbers: those belong to the workers of their samples until `left` is 0, and then
// to next().
struct Loader::State {
  struct Slot {
    std::vector<float> images;
    std::vector<std::int32_t> labels;
    std::int64_t left = 0;  // samples still to be made
    std::exception_ptr error;
    std::int64_t error_sample = 0;
  };

  const Dataset& dataset;
  const TrainTransform transform;
  const LoaderConfig config;
  std::size_t pixels;  // of a crop
  std::vector<Slot> slots;
  std::mutex mutex;
  std::condition_variable work, ready;  // a slot became free; a batch became complete
  std::int64_t taken = 0;               // samples handed to workers, counted from the start
  std::int64_t iteration;               // what next() delivers
  bool stop = false;
  double waited = 0;
  std::int64_t epoch = -1;
  std::vector<std::int64_t> order;  // of that epoch
  std::vector<std::thread> threads;

  State(const Dataset& d, const TrainTransform& t, const LoaderConfig& c)
      : dataset(d), transform(t), config(c), iteration(c.start_iteration) {
    transform.validate();
    check(d.size() > 0, "loader: the data set is empty");
    check(c.batch >= 1 && c.depth >= 1 && c.workers >= 0 && c.workers <= 1024,
          "loader: batch {}, depth {}, {} workers", c.batch, c.depth, c.workers);
    check(c.start_iteration >= 0 && c.end_iteration >= c.start_iteration,
          "loader: iterations {} to {}", c.start_iteration, c.end_iteration);
    pixels = static_cast<std::size_t>(t.crop_h * t.crop_w);
    slots.resize(c.workers == 0 ? 1 : static_cast<std::size_t>(c.depth));
    for (Slot& slot : slots) {
      slot.images.resize(static_cast<std::size_t>(c.batch) * pixels * 3);
      slot.labels.resize(static_cast<std::size_t>(c.batch) * pixels);
      slot.left = c.batch;
    }
  }

  Slot& slot_of(std::int64_t i) {
    return slots[static_cast<std::size_t>(i - config.start_iteration) % slots.size()];
  }

  // Which picture is sample k of iteration i. Asked for in order, so one epoch is kept.
  std::int64_t index_of(std::int64_t i, std::int64_t k) {
    const std::int64_t position = i * config.batch + k, n = dataset.size();
    if (position / n != epoch) {
      epoch = position / n;
      order = epoch_permutation(config.seed, epoch, n);
    }
    return order[static_cast<std::size_t>(position % n)];
  }

  void make(std::int64_t index, std::int64_t i, std::int64_t k, Slot& slot) const {
    const Sample sample = dataset.load(index);
    const auto at = static_cast<std::size_t>(k) * pixels;
    transform.apply(
        sample.image, sample.label,
        {config.seed, static_cast<std::uint64_t>(i), kUseAugment, static_cast<std::uint32_t>(k)},
        std::span(slot.images).subspan(3 * at, 3 * pixels),
        std::span(slot.labels).subspan(at, pixels));
  }

  // True while a worker may take another sample: its slot is free.
  bool has_room() const {
    const std::int64_t next = config.start_iteration + taken / config.batch;
    return next < config.end_iteration &&
           next < iteration + static_cast<std::int64_t>(slots.size());
  }

  void run_worker() {
    std::unique_lock lock(mutex);
    for (;;) {
      work.wait(lock, [&] { return stop || has_room(); });
      if (stop) return;
      const std::int64_t i = config.start_iteration + taken / config.batch;
      const std::int64_t k = taken++ % config.batch, index = index_of(i, k);
      Slot& slot = slot_of(i);
      std::exception_ptr error;
      lock.unlock();
      try {
        make(index, i, k, slot);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      // Of several errors the first sample's is told, whoever was faster.
      if (error && (!slot.error || k < slot.error_sample))
        slot.error = error, slot.error_sample = k;
      if (--slot.left == 0) ready.notify_all();
    }
  }

  void shut_down() {
    {
      const std::scoped_lock lock(mutex);
      stop = true;
    }
    work.notify_all();
    for (std::thread& thread : threads) thread.join();
  }

  void wait_for(Slot& slot, std::unique_lock<std::mutex>& lock) {
    const auto begin = std::chrono::steady_clock::now();
    if (config.workers == 0)
      for (std::int64_t k = 0; k < config.batch; ++k)
        make(index_of(iteration, k), iteration, k, slot);
    else
      ready.wait(lock, [&] { return slot.left == 0; });
    waited += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (slot.error) std::rethrow_exception(slot.error);
  }
};

Loader::Loader(const Dataset& dataset, const TrainTransform& transform, const LoaderConfig& config)
    : state_(std::make_unique<State>(dataset, transform, config)) {
  try {
    for (int i = 0; i < config.workers; ++i)
      state_->threads.emplace_back([state = state_.get()] { state->run_worker(); });
  } catch (...) {
    state_->shut_down();
    throw;
  }
}

Loader::~Loader() {
  state_->shut_down();
}

bool Loader::done() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->iteration >= state_->config.end_iteration;
}

double Loader::wait_seconds() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->waited;
}

Batch Loader::next() {
  State& s = *state_;
  std::unique_lock lock(s.mutex);
  check(s.iteration < s.config.end_iteration, "loader: no batch after iteration {}",
        s.config.end_iteration);
  State::Slot& slot = s.slot_of(s.iteration);
  s.wait_for(slot, lock);
  lock.unlock();
  const TrainTransform& t = s.transform;
  Batch batch{Tensor::from(slot.images, {s.config.batch, t.crop_h, t.crop_w, 3}),
              Tensor::from(slot.labels, {s.config.batch, t.crop_h, t.crop_w}), s.iteration};
  lock.lock();
  slot.left = s.config.batch;
  ++s.iteration;
  lock.unlock();
  s.work.notify_all();
  return batch;
}

}  // namespace nextgrad
