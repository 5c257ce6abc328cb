// The command line, by CLI11: what the commands need of it. CLI11 costs every file that includes it
// seconds of compiling, so only command_line.cpp does.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "apps/settings/settings.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace nextgrad {

// A handle on an option; what it changes, it gives back.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}
  Option required() const;
  Option excludes(Option other) const;
  Option one_of(std::vector<std::string> values) const;
  template <class T>
  Option range(T lowest, T highest) const;  // of int, int64_t, double
  Option shows_default() const;             // as it is now, in the help

 private:
  CLI::Option* option_;
};

// A handle on a command: what it is called, its options, what it does.
class Command {
 public:
  explicit Command(CLI::App* app) : app_(app) {}
  // `more`: what its help ends with.
  Command subcommand(const std::string& name, const std::string& help,
                     const std::string& more = "") const;
  void needs_subcommand(bool must = true) const;  // one of them, or none if it need not
  bool has_subcommand() const;                    // on the command line
  // Runs at the end of parsing; may throw Error or InputError.
  void does(std::function<void()> work) const;
  // An option whose value is a text, a number, several texts, or numbers between commas.
  template <class T>
  Option option(const std::string& name, T& value, const std::string& help) const;
  // One of whose text `take` makes something at once, or throws InputError. `type`: for the help.
  using Take = std::function<void(const std::string& text)>;
  Option text_option(const std::string& name, const std::string& type, const Take& take,
                     const std::string& help) const;
  // One for a number in a range, whose default the help shows.
  template <class T, class Bound>
  Option number(const std::string& name, T& value, Bound lowest, Bound highest,
                const std::string& help) const {
    return option(name, value, help).range(lowest, highest).shows_default();
  }
  Option size(const std::string& name, Size& value, const std::string& help) const;
  Option flag(const std::string& name, bool& value, const std::string& help) const;
  // --KEY for every setting (the present values are shown as defaults); the texts of those on the
  // command line go into `given`.
  void settings(const Settings& defaults, std::map<std::string, std::string>& given) const;
  Option named(const std::string& name) const;  // the option there is
  bool given(const std::string& name) const;    // on the command line

 private:
  CLI::App* app_;
};

// Runs the command that the arguments name. What main() returns; throws InputError for arguments
// that are no right usage.
int run_command_line(int argc, char** argv);

}  // namespace nextgrad
