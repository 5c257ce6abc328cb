#include "data/stream/class_stream.h"

#include "data/augment/random_use.h"

namespace nextgrad {

void ClassMaker::make(std::int64_t index, const RandomKey& key, std::span<float> image,
                      std::span<std::int32_t> label) const {
  transform_.apply(dataset_.load(index), key, image);
  label[0] = dataset_.label(index);
}

void ClassMaker::finish(const RandomKey& key, std::span<float> images) const {
  const std::int64_t size = transform_.size;
  mix_images(images, static_cast<std::int64_t>(images.size()) / (size * size * 3), size, size,
             plan_of(mix_, key.seed, static_cast<std::int64_t>(key.iteration), size));
}

MixPlan plan_of(const BatchMix& mix, std::uint64_t seed, std::int64_t iteration,
                std::int64_t size) {
  return mix.plan({seed, static_cast<std::uint64_t>(iteration), kUseMix, 0}, size, size);
}

}  // namespace nextgrad
