// What `segnext bench` is asked for.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "apps/settings/model_settings.h"
#include "apps/settings/precision.h"
#include "apps/settings/settings.h"

namespace nextgrad {

struct BenchArguments {
  ModelSettings model;
  std::map<std::string, std::string> given;  // of the model, on the command line
  std::string json_file;
  Placement placement;
  Size size{512, 512};
  int classes = 150, batch = 2, runs = 5;
  bool recompute = false, scaling = false, ranks = false;
  std::int64_t bucket = 4;                   // MiB
  std::vector<double> gigabits{1, 10, 100};  // of the networks to predict for
};

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// bench_ranks.cpp
void run_rank_bench(const BenchArguments& a);

}  // namespace nextgrad
