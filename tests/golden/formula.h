// The formula that the golden cases' weights and inputs follow, and how results are compared.
// Every array here is flat and row-major in PyTorch's shape (images [N,C,H,W]).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "nn/init.h"
#include "tensor/error.h"
#include "tensor/tensor.h"
#include "tests/compare.h"

namespace nextgrad::golden {

// Element i of the tensor called `name`, in [0, 1): splitmix64's finaliser of a counter.
inline double unit(std::uint64_t hash, std::uint64_t i) {
  std::uint64_t z = hash + (i + 1) * 0x9E3779B97F4A7C15u;
  z ^= z >> 30;
  z *= 0xBF58476D1CE4E5B9u;
  z ^= z >> 27;
  z *= 0x94D049BB133111EBu;
  z ^= z >> 31;
  return static_cast<double>(z >> 40) / 16777216.0;
}

inline std::vector<double> units(const std::string& name, std::int64_t count) {
  const std::uint64_t hash = hash_name(name);
  std::vector<double> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = unit(hash, i);
  return values;
}

inline std::vector<double> signs(const std::string& name, std::int64_t count) {
  std::vector<double> values = units(name, count);
  for (double& v : values) v = 2 * v - 1;
  return values;
}

// What a file's layer scales vary about; deep variants take a smaller one, to stay inside f32.
inline double layer_scale(const nlohmann::json& file) {
  return file.value("layer_scale", 0.5);
}

// Value of a parameter or buffer of this name and PyTorch shape.
inline std::vector<double> weights(const std::string& name, const Shape& shape,
                                   double layer_scale = 0.5) {
  double offset = 0, scale = 0.1;
  if (name.find("layer_scale") != std::string::npos) {
    offset = layer_scale;
    scale = 0.2 * layer_scale;
  } else if (name.ends_with("running_var")) {
    offset = 1;
  } else if (shape.size() >= 2) {  // of convolutions; of SegFormer's linear layers too
    scale = std::sqrt(3.0 / static_cast<double>(shape.numel() / shape[0]));
  } else if (name.ends_with("weight")) {
    offset = 1;
  }
  std::vector<double> values = signs(name, shape.numel());
  for (double& v : values) v = offset + scale * v;
  return values;
}

// Bases [batch, d, r]: u or s, each column divided by its length over d.
inline std::vector<double> bases(std::int64_t batch, std::int64_t d, std::int64_t r,
                                 bool positive) {
  std::vector<double> v = positive ? units("bases", batch * d * r) : signs("bases", batch * d * r);
  const auto at = [&](std::int64_t b, std::int64_t i, std::int64_t j) -> double& {
    return v[static_cast<std::size_t>((b * d + i) * r + j)];
  };
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t j = 0; j < r; ++j) {
      double squares = 0;
      for (std::int64_t i = 0; i < d; ++i) squares += at(b, i, j) * at(b, i, j);
      for (std::int64_t i = 0; i < d; ++i) at(b, i, j) /= std::sqrt(squares);
    }
  }
  return v;
}

// [N,C,H,W] values as an [N,H,W,C] tensor, and back.
inline Tensor channels_last(const std::vector<double>& nchw, const Shape& shape) {
  return Tensor::from(nchw, shape).permute({0, 2, 3, 1}).contiguous();
}
inline std::vector<double> channels_first(const Tensor& nhwc) {
  return nhwc.permute({0, 3, 1, 2}).contiguous().to_vector<double>();
}

// |ours - theirs| of [sum, L2 norm, dot with the sign vector `digest:NAME`], the worst of the
// three, relative to `scale` (their L2 norm if 0); infinite if that is no number on either side.
inline double digest_error(const std::vector<double>& ours, const nlohmann::json& digest,
                           const std::string& name, double scale = 0) {
  const std::uint64_t hash = hash_name("digest:" + name);
  double sum = 0, squares = 0, dot = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    sum += ours[i];
    squares += ours[i] * ours[i];
    dot += ours[i] * (2 * unit(hash, i) - 1);
  }
  const double norm = digest.at(1).get<double>();
  if (scale == 0) scale = norm > 0 ? norm : 1;
  test::Worst worst;
  worst.see(std::abs(sum - digest.at(0).get<double>()) / scale);
  worst.see(std::abs(std::sqrt(squares) - norm) / scale);
  worst.see(std::abs(dot - digest.at(2).get<double>()) / scale);
  return worst.error();
}

// All *.json of a folder and of those in it, sorted; throws if it cannot be read.
inline std::vector<std::filesystem::path> cases(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  if (!std::filesystem::is_directory(folder)) fail("no folder {}", folder.string());
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

inline nlohmann::json read(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) fail("cannot read {}", file.string());
  return nlohmann::json::parse(in);
}

// The environment's NEXTGRAD_GOLDEN, else the copies beside this file.
inline std::filesystem::path folder() {
  const char* given = std::getenv("NEXTGRAD_GOLDEN");
  return given != nullptr && *given != '\0' ? given : NEXTGRAD_GOLDEN_DEFAULT;
}

}  // namespace nextgrad::golden
