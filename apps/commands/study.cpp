// segnext study: a table of models, each trained alike and put side by side.
#include <algorithm>
#include <memory>
#include <set>

#include "apps/commands/commands.h"
#include "apps/help.h"
#include "apps/report/progress.h"
#include "apps/settings/same.h"
#include "apps/training/study_run.h"

namespace nextgrad {
namespace {

struct StudyArguments {
  std::string study, budget, only, seeds, out;
  bool dry_run = false, report = false;
  std::map<std::string, std::string> given;
};

// Where it computes and where the data lies: those that make no other study of it.
Settings settings_of_place(TrainConfig& config) {
  static const std::set<std::string> keys = {"data-root", "device",  "precision",
                                             "threads",   "workers", "wait-limit"};
  Settings all = settings_of(config);
  std::erase_if(all, [](const Setting& s) { return !keys.contains(s.key); });
  return all;
}

// Variants by their names, between commas.
std::vector<std::string> chosen(const Study& study, const std::string& only) {
  std::vector<std::string> names, chosen;
  for (const StudyVariant& v : study.variants) names.push_back(v.name);
  for (std::size_t at = 0; at < only.size();) {
    const std::size_t comma = std::min(only.find(',', at), only.size());
    chosen.push_back(only.substr(at, comma - at));
    at = comma + 1;
    if (std::ranges::find(names, chosen.back()) != names.end()) continue;
    const std::string guess = nearest(chosen.back(), names);
    fail_input("--only: the study has no variant {}; {}", in_quotes(chosen.back()),
               guess.empty() ? fmt::format("choose {}", fmt::join(names, ", "))
                             : "did you mean " + guess + "?");
  }
  return chosen;
}

void run(const StudyArguments& a) {
  if (a.study.empty())
    fail_input("name a study's file, or one of those that segnext study list shows");
  Study study = read_study(a.study, a.budget);
  if (!a.seeds.empty()) Setting("seeds", "", study.seeds, 0, kUnlimited).set(a.seeds, "--seeds");
  if (study.seeds.empty()) fail_input("--seeds: give at least one, such as 0");
  for (StudyVariant& v : study.variants) {
    apply_options(a.given, settings_of_place(v.config));
    make_absolute(v.config.data_root);
    make_absolute(v.config.pretrained);
  }
  StudyOptions options{.out = a.out, .only = chosen(study, a.only)};
  if (a.dry_run) {
    std::erase_if(study.variants, [&](const StudyVariant& v) { return !options.wants(v.name); });
    return say(stdout, study_plan(study));
  }
  if (a.out.empty())
    options.out = a.budget.empty() ? study.name : fmt::format("{}-{}", study.name, a.budget);
  if (a.report) {
    if (world().is_root()) report_study(study, options.out);
    return;
  }
  require_same(program_line() + study_text(a.study), world());
  run_study(study, options);
}

}  // namespace

void study_command(Command root) {
  const Command app = root.subcommand(
      "study", "Train variants alike and compare them: the paper's tables", help::study);
  auto a = std::make_shared<StudyArguments>();
  app.option("study", a->study, "a study's TOML file, or the name of one that comes along");
  app.option("--budget", a->budget, "one of the file's tables [budget.NAME], such as small");
  app.option("--out", a->out, "folder of the study [its name, with the budget]");
  app.option("--only", a->only, "these variants, their names between commas");
  app.option("--seeds", a->seeds, "instead of the file's: 0,1,2");
  const Option dry = app.flag("--dry-run", a->dry_run, "only say what would be trained");
  app.flag("--report", a->report, "only write the tables, from the results that are there")
      .excludes(dry);
  TrainConfig defaults;
  app.settings(settings_of_place(defaults), a->given);
  const Command list = app.subcommand("list", "The studies that come along");
  const Command show = app.subcommand("show", "One of them as TOML");
  auto name = std::make_shared<std::string>();
  show.option("name", *name, "such as table6").required();
  list.does([] {
    for (const auto& [name, text] : shipped_studies())
      fmt::print("{:<10}{}\n", name, study_title(text));
  });
  show.does([name] { fmt::print("{}", study_text(*name)); });
  app.needs_subcommand(false);
  app.does([a, app] {
    if (!app.has_subcommand()) run(*a);
  });
}

}  // namespace nextgrad
