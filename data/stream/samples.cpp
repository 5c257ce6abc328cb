#include "data/stream/samples.h"

#include "data/augment/random_use.h"

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
              const Sample sample = dataset.load(index);
              return transform.apply(sample.image, sample.label, key, image, label);
            }
            const LabelMap map = dataset.load_label(index);
            const auto load = [&](const Rectangle& wanted, int reduce) {
              return read_image_part(path, wanted, map.height, map.width, reduce);
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

}  // namespace nextgrad
