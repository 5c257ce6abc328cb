// What the tests of data/ share.
#pragma once

#include <stdlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "data/images/image.h"
#include "data/scores/metrics.h"
#include "tensor/error.h"
#include "tensor/random.h"

namespace nextgrad::testing {

// How many times more time and memory a test may take under a sanitizer.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kSanitizerCost = 4;
#else
constexpr int kSanitizerCost = 1;
#endif

// A folder that goes with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "nextgrad-XXXXXX").string();
    check(::mkdtemp(name.data()) != nullptr, "no temporary folder");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  // The path of `name` in the folder; its parents are created.
  std::string operator/(const std::string& name) const {
    const auto full = path_ / name;
    std::filesystem::create_directories(full.parent_path());
    return full.string();
  }
  std::string path() const { return path_.string(); }
  std::size_t files() const {
    std::size_t n = 0;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) n += entry.exists();
    return n;
  }

 private:
  std::filesystem::path path_;
};

inline Image noise_image(std::int64_t height, std::int64_t width, std::uint64_t seed) {
  RandomStream random({seed});
  Image image{height, width, {}};
  for (std::int64_t i = 0; i < height * width * 3; ++i)
    image.pixels.push_back(static_cast<std::uint8_t>(random.next()));
  return image;
}

inline LabelMap noise_label(std::int64_t height, std::int64_t width, int classes,
                            std::uint64_t seed) {
  RandomStream random({seed});
  LabelMap label{height, width, {}};
  for (std::int64_t i = 0; i < height * width; ++i)
    label.values.push_back(
        static_cast<std::uint8_t>(random.below(static_cast<std::uint64_t>(classes))));
  return label;
}

// A picture without edges, which JPEG keeps nearly exact.
inline Image smooth_image(std::int64_t height, std::int64_t width) {
  Image image{height, width, {}};
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x) {
      image.pixels.push_back(static_cast<std::uint8_t>(40 + 150 * x / width));
      image.pixels.push_back(static_cast<std::uint8_t>(200 - 120 * y / height));
      image.pixels.push_back(static_cast<std::uint8_t>(90 + 60 * (x + y) / (width + height)));
    }
  return image;
}

inline int largest_difference(const Image& a, const Image& b) {
  if (a.height != b.height || a.width != b.width || a.pixels.size() != b.pixels.size()) return 999;
  int worst = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i)
    worst = std::max(worst, std::abs(a.pixels[i] - b.pixels[i]));
  return worst;
}

// Bytes into a file, without the care of write_file_atomic: for files that are many and
// short-lived.
inline void scratch(const std::string& path, std::span<const std::uint8_t> bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

// The message of the InputError that `call` throws; empty if it throws nothing.
template <class Call>
std::string input_error(const Call& call) {
  try {
    call();
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

// Label:      0 0 0 1 1 255 0;  prediction: 0 0 1 1 2 0 0; class 3 is absent.
inline ConfusionMatrix counted() {
  ConfusionMatrix matrix(4);
  matrix.add(std::vector<std::int32_t>{0, 0, 0, 1, 1, 255, 0},
             std::vector<std::int32_t>{0, 0, 1, 1, 2, 0, 0});
  return matrix;
}

}  // namespace nextgrad::testing
