// The embedded data set: little landscapes drawn by formula from a seed. No file is needed, and no
// colour or texture tells its class alone: the same disc is the sun above the horizon and a ball on
// the ground, the same blue ripples are sky or water, the same striped box is a building on the
// ground and a sign on a pole, the same green is a meadow, a hill or a crown.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/datasets/dataset.h"

namespace nextgrad {

// sky, ground, water, tree, building, sign, pole, sun, ball, fence
const std::vector<std::string>& scene_classes();

// Scene number `index` of a stream: a pure function of its arguments. Labels are crisp (a pixel
// belongs to what covers its centre); the picture is anti-aliased. Throws Error below 16 pixels a
// side.
Sample draw_scene(std::uint64_t seed, std::int64_t index, std::int64_t height, std::int64_t width);

// `count` scenes of size x size pixels, drawn when asked for. Splits "train", "val" and "test" of
// one seed share no scene. Throws InputError for another split, size < 16 or count < 1.
class Scenes : public Dataset {
 public:
  Scenes(const std::string& split, std::int64_t count, std::int64_t size, std::uint64_t seed);
  std::int64_t size() const override { return count_; }
  std::string name(std::int64_t i) const override;
  Sample load(std::int64_t i) const override;

 private:
  std::string split_;
  std::int64_t count_, size_;
  std::uint64_t stream_;  // differs from split to split
};

}  // namespace nextgrad
