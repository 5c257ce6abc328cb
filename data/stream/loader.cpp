#include "data/stream/loader.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <iterator>
#include <mutex>
#include <thread>

#include "data/augment/random_use.h"
#include "data/files/file.h"
#include "tensor/error.h"

namespace nextgrad {

SampleMaker crops_of(const Dataset& dataset, const TrainTransform& transform) {
  transform.validate();
  const std::int64_t h = transform.crop_h, w = transform.crop_w;
  return {dataset.size(),
          {h, w, 3},
          {h, w},
          [&](std::int64_t i) { return dataset.name(i); },
          [&dataset, transform](std::int64_t index, const RandomKey& key, std::span<float> image,
                                std::span<std::int32_t> label) {
            // A picture that is drawn comes with its labels; of a file, the crop alone is decoded.
            const std::string path = dataset.image_path(index);
            if (path.empty()) {
              Sample sample = dataset.load(index);
              return transform.apply(std::move(sample.image), sample.label, key, image, label);
            }
            const LabelMap map = dataset.load_label(index);
            const auto load = [&](const Rectangle& wanted, int reduce) {
              return decode_image_part(read_file(path, kMaxPictureFile), path, wanted, map.height,
                                       map.width, reduce);
            };
            transform.apply(map, load, key, image, label);
          }};
}

SampleMaker pictures_of(const ClassDataset& dataset, const ClassTransform& transform,
                        const BatchMix& mix) {
  transform.validate();
  const std::int64_t size = transform.size;
  return {dataset.size(),
          {size, size, 3},
          {},
          [&](std::int64_t i) { return dataset.name(i); },
          [&dataset, transform](std::int64_t index, const RandomKey& key, std::span<float> image,
                                std::span<std::int32_t> label) {
            transform.apply(dataset.load_image(index), key, image);
            label[0] = dataset.load_label(index);
          },
          [mix, size](const RandomKey& key, std::span<float> images) {
            const auto n = static_cast<std::int64_t>(images.size()) / (size * size * 3);
            const auto iteration = static_cast<std::int64_t>(key.iteration);
            mix_images(images, n, size, size, plan_of(mix, key.seed, iteration, size));
          }};
}

MixPlan plan_of(const BatchMix& mix, std::uint64_t seed, std::int64_t iteration,
                std::int64_t size) {
  return mix.plan({seed, static_cast<std::uint64_t>(iteration), kUseMix, 0}, size, size);
}

namespace {

Shape batched(std::int64_t n, const Shape& sample) {
  Shape shape{n};
  for (const std::int64_t extent : sample) shape.push_back(extent);
  return shape;
}

}  // namespace

// Workers take samples in order and write them into the batch they belong to, one of `depth` slots
// used in turn; a slot is taken again once next() has copied it out. Who makes a batch's last
// sample finishes it. The mutex guards everything but the slots' numbers: those belong to the
// workers of their samples until it is complete, and then to next().
struct Loader::State {
  struct Slot {  // sample j of those that are made
    std::vector<float> images;
    std::vector<std::int32_t> labels;
    std::vector<std::vector<DamagedSample>> damaged;  // for each sample
    std::int64_t made = 0;                            // samples made, or failed
    bool complete = false;                            // and finished
    std::exception_ptr error;
    std::int64_t error_sample = 0;
  };
  using Lock = std::unique_lock<std::mutex>;

  const SampleMaker samples;
  const LoaderConfig config;
  std::vector<std::int64_t> wanted;              // of each batch
  const std::size_t image_values, label_values;  // of one sample
  std::vector<Slot> slots;
  std::mutex mutex;
  std::condition_variable work, ready;  // a slot became free; a batch became complete
  std::int64_t taken = 0;               // samples handed to workers, counted from the start
  std::int64_t iteration;               // what next() delivers
  std::atomic<bool> stop = false;
  std::int64_t epoch = -1;
  std::vector<std::int64_t> order;  // of that epoch
  std::vector<std::thread> threads;

  State(SampleMaker maker, const LoaderConfig& c)
      : samples(std::move(maker)),
        config(c),
        image_values(static_cast<std::size_t>(samples.image.numel())),
        label_values(static_cast<std::size_t>(samples.label.numel())),
        iteration(c.start_iteration) {
    check(samples.size > 0, "loader: the data set is empty");
    check(c.batch >= 1 && c.depth >= 1 && c.workers >= 0 && c.workers <= 1024,
          "loader: batch {}, depth {}, {} workers", c.batch, c.depth, c.workers);
    check(c.start_iteration >= 0 && c.end_iteration >= c.start_iteration,
          "loader: iterations {} to {}", c.start_iteration, c.end_iteration);
    slots.resize(c.workers == 0 ? 1 : static_cast<std::size_t>(c.depth));
    wanted = c.samples;
    if (wanted.empty())
      for (std::int64_t k = 0; k < c.batch; ++k) wanted.push_back(k);
    check(std::ranges::is_sorted(wanted) && wanted.front() >= 0 && wanted.back() < c.batch,
          "loader: samples {} to {} of a batch of {}", wanted.front(), wanted.back(), c.batch);
    const std::size_t batch = wanted.size();
    for (Slot& slot : slots) {
      slot.images.resize(batch * image_values);
      slot.labels.resize(batch * label_values);
      slot.damaged.resize(batch);
    }
  }

  Slot& slot_of(std::int64_t i) {
    return slots[static_cast<std::size_t>(i - config.start_iteration) % slots.size()];
  }

  // Which picture is sample k of iteration i. Asked for in order, so one epoch is kept.
  std::int64_t index_of(std::int64_t i, std::int64_t k) {
    const std::int64_t position = i * config.batch + k, n = samples.size;
    if (position / n != epoch) {
      epoch = position / n;
      order = epoch_permutation(config.seed, epoch, n);
    }
    return order[static_cast<std::size_t>(position % n)];
  }

  RandomKey key_of(std::int64_t i, std::int64_t k) const {
    return {config.seed, static_cast<std::uint64_t>(i), kUseAugment, static_cast<std::uint32_t>(k)};
  }

  void make(std::int64_t index, std::int64_t i, std::int64_t j, Slot& slot) const {
    const auto at = static_cast<std::size_t>(j);
    const RandomKey key = key_of(i, wanted[at]);
    const auto image = std::span(slot.images).subspan(at * image_values, image_values);
    const auto label = std::span(slot.labels).subspan(at * label_values, label_values);
    std::vector<DamagedSample>& damaged = slot.damaged[at];
    damaged.clear();
    for (const std::int64_t n = samples.size; !stop; index = (index + 1) % n) {
      try {
        return samples.make(index, key, image, label);
      } catch (const InputError& e) {
        if (!config.skip_damaged) throw;
        damaged.push_back({samples.name(index), e.what()});
      }
      if (std::ssize(damaged) == n)
        fail_input("none of the {} samples can be read; the first: {}", n, damaged.front().message);
    }
  }

  // Runs a step of making sample j without the lock. Of several errors the first sample's is told,
  // whoever was faster.
  template <class Step>
  void unlocked(Lock& lock, Slot& slot, std::int64_t j, const Step& step) {
    std::exception_ptr error;
    lock.unlock();
    try {
      step();
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error && (!slot.error || j < slot.error_sample)) slot.error = error, slot.error_sample = j;
  }

  // True while a worker may take another sample: its slot is free.
  bool has_room() const {
    const std::int64_t next = config.start_iteration + taken / std::ssize(wanted);
    return next < config.end_iteration && next < iteration + std::ssize(slots);
  }

  // Makes the next sample, for which there is room.
  void make_next(Lock& lock) {
    const std::int64_t count = std::ssize(wanted), i = config.start_iteration + taken / count;
    const std::int64_t j = taken++ % count;
    const std::int64_t index = index_of(i, wanted[static_cast<std::size_t>(j)]);
    Slot& slot = slot_of(i);
    unlocked(lock, slot, j, [&] { make(index, i, j, slot); });
    if (++slot.made < count) return;
    if (!slot.error)
      unlocked(lock, slot, count, [&] { samples.finish(key_of(i, 0), slot.images); });
    slot.complete = true;
    ready.notify_all();
  }

  void run_worker() {
    Lock lock(mutex);
    for (;;) {
      work.wait(lock, [&] { return stop || has_room(); });
      if (stop) return;
      make_next(lock);
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
};

Loader::Loader(SampleMaker samples, const LoaderConfig& config)
    : state_(std::make_unique<State>(std::move(samples), config)) {
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

Batch Loader::next() {
  State& s = *state_;
  State::Lock lock(s.mutex);
  check(s.iteration < s.config.end_iteration, "loader: no batch after iteration {}",
        s.config.end_iteration);
  State::Slot& slot = s.slot_of(s.iteration);
  if (s.config.workers > 0)
    s.ready.wait(lock, [&] { return slot.complete; });
  else
    while (!slot.complete && !slot.error) s.make_next(lock);
  if (slot.error) std::rethrow_exception(slot.error);
  lock.unlock();
  const std::int64_t count = std::ssize(s.wanted);
  Batch batch{Tensor::from(slot.images, batched(count, s.samples.image)),
              Tensor::from(slot.labels, batched(count, s.samples.label)),
              s.iteration,
              {}};
  for (std::vector<DamagedSample>& damaged : slot.damaged)
    std::ranges::move(damaged, std::back_inserter(batch.damaged));
  lock.lock();
  slot.made = 0;
  slot.complete = false;
  ++s.iteration;
  lock.unlock();
  s.work.notify_all();
  return batch;
}

}  // namespace nextgrad
