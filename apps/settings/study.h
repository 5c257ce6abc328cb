// A study: variants of a model, each trained with several seeds by one recipe and put side by side,
// as in a paper's table. Written as TOML:
//
//   title = "..."               # and question = "...", what the study is to answer
//   seeds = [0, 1]
//   time-size = 512             # of the picture whose prediction is timed and counted
//   [recipe]                    # settings of `segnext train`; preset = "ade20k-tiny" comes first
//   [budget.small]              # win over the recipe with --budget small; also seeds, time-size
//   [[variant]]                 # settings that win over both
//   name = "7x7"                # what its runs' folders are called
//   [variant.budget.small]      # with that budget, win over everything
//   [variant.paper]             # its figures: parameters, multiply-adds, miou, miou-ms, top-1
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "apps/settings/run_config.h"

namespace nextgrad {

struct StudyVariant {
  std::string name;
  TrainConfig config;
  // What the paper says of it; 0: nothing. Parameters in millions, multiply-adds in thousands of
  // millions, scores in percent.
  struct Paper {
    double parameters = 0, multiply_adds = 0, miou = 0, miou_multi_scale = 0, top1 = 0;
  } paper;
};

struct Study {
  std::string name, title, question, budget;  // name: of the file, without folder and suffix
  std::vector<std::int64_t> seeds = {0};
  Size time_size{512, 512};
  std::vector<StudyVariant> variants;
};

// The studies that come with the program: their files by name.
const std::map<std::string, std::string>& shipped_studies();
// A shipped one by its name, or a file. Throws InputError that names file and line: unknown keys,
// values out of range, no variant, names that are none or stand there twice, no such budget.
Study read_study(const std::string& name_or_file, const std::string& budget = "");
Study parse_study(const std::string& toml, const std::string& file, const std::string& budget = "");
std::string study_title(const std::string& toml);  // "" if it has none
// The text of a shipped study or of a file.
std::string study_text(const std::string& name_or_file);

}  // namespace nextgrad
