// The options of a command that has settings: one for each.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "apps/commands/command_line.h"
#include "apps/settings/settings.h"
#include "apps/training/run_folder.h"

namespace nextgrad {

// --KEY for every setting (the present values are shown as defaults); after parsing, given() holds
// the text of those on the command line.
class ConfigOptions {
 public:
  void add_to(Command app, const Settings& defaults);
  std::map<std::string, std::string> given() const;

 private:
  std::vector<std::pair<std::string, Option>> options_;
};

// --config, --out, --resume, --overwrite and an option for each setting.
struct RunOptions : RunArguments {
  ConfigOptions options;
  void add_to(Command app, const Settings& defaults);
};

}  // namespace nextgrad
