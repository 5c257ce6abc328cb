#include "apps/commands/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "apps/commands/commands.h"
#include "tensor/error.h"

namespace nextgrad {

Option Option::required() const {
  return Option(option_->required());
}
Option Option::excludes(Option other) const {
  return Option(option_->excludes(other.option_));
}
Option Option::one_of(std::vector<std::string> values) const {
  return Option(option_->check(CLI::IsMember(std::move(values))));
}
template <class T>
Option Option::range(T lowest, T highest) const {
  return Option(option_->check(CLI::Range(lowest, highest)));
}
template Option Option::range(int, int) const;
template Option Option::range(std::int64_t, std::int64_t) const;
template Option Option::range(double, double) const;
Option Option::shows_default() const {
  return Option(option_->capture_default_str());
}

Command Command::subcommand(const std::string& name, const std::string& help,
                            const std::string& more) const {
  return Command(app_->add_subcommand(name, help)->footer(more));
}
void Command::needs_subcommand(bool must) const {
  app_->require_subcommand(must ? 1 : 0, 1);
}
bool Command::has_subcommand() const {
  return !app_->get_subcommands().empty();
}
void Command::does(std::function<void()> work) const {
  app_->callback(std::move(work));
}
template <class T>
Option Command::option(const std::string& name, T& value, const std::string& help) const {
  CLI::Option* option = app_->add_option(name, value, help);
  if (std::is_same_v<T, std::vector<double>>) option->delimiter(',')->take_all();
  return Option(option);
}
template Option Command::option(const std::string&, int&, const std::string&) const;
template Option Command::option(const std::string&, std::int64_t&, const std::string&) const;
template Option Command::option(const std::string&, double&, const std::string&) const;
template Option Command::option(const std::string&, std::string&, const std::string&) const;
template Option Command::option(const std::string&, std::vector<std::string>&,
                                const std::string&) const;
template Option Command::option(const std::string&, std::vector<double>&, const std::string&) const;
Option Command::text_option(const std::string& name, const std::string& type, const Take& take,
                            const std::string& help) const {
  const CLI::callback_t told = [take](const CLI::results_t& texts) {
    take(texts.front());
    return true;
  };
  return Option(app_->add_option(name, told, help)->type_name(type));
}
Option Command::size(const std::string& name, Size& value, const std::string& help) const {
  const Take take = [&value, name](const std::string& text) { value = parse_size(text, name); };
  return text_option(name, "SIZE", take, help);
}
Option Command::flag(const std::string& name, bool& value, const std::string& help) const {
  return Option(app_->add_flag(name, value, help));
}
void Command::settings(const Settings& defaults, std::map<std::string, std::string>& given) const {
  for (const Setting& s : defaults) {
    const std::string name = "--" + s.key, help = fmt::format("{} [{}]", s.help, s.str());
    const bool flag = std::holds_alternative<bool*>(s.target);
    CLI::Option* const option =
        flag ? app_->add_flag(fmt::format("{},!--no-{}", name, s.key), help)
             : app_->add_option(name, help)
                   ->type_name(std::holds_alternative<std::string*>(s.target) ? "TEXT"
                               : std::holds_alternative<Size*>(s.target)      ? "SIZE"
                                                                              : "N");
    const bool crop = s.key == "crop";  // of `--crop H W` the last does not count alone
    crop ? option->expected(1, 2) : option->take_last();
    option->each([&given, crop, key = s.key](const std::string& text) {
      const bool more = crop && given.contains(key);
      given[key] = more ? fmt::format("{} {}", given[key], text) : text;
    });
  }
}
Option Command::named(const std::string& name) const {
  return Option(app_->get_option(name));
}
bool Command::given(const std::string& name) const {
  return app_->count(name) > 0;
}

namespace {

// `word`: the first argument.
std::string usage_error(CLI::App& root, const CLI::ParseError& e, const std::string& word) {
  const CLI::App* app = &root;
  for (const CLI::App* sub : root.get_subcommands()) app = sub;
  if (app == &root && !word.empty() && word[0] != '-') {
    std::vector<std::string> names;
    for (const CLI::App* sub : root.get_subcommands({})) names.push_back(sub->get_name());
    const std::string guess = nearest(word, names);
    return fmt::format("unknown subcommand {}; {} (see segnext --help)", word,
                       guess.empty() ? fmt::format("choose {}", fmt::join(names, ", "))
                                     : "did you mean " + guess + "?");
  }
  std::string hint;
  std::string text = e.what();  // of several lines the first says it
  text.resize(std::min(text.size(), text.find('\n')));
  // "The following argument was not expected: --lrr"
  if (const auto at = text.rfind("--"); at != std::string::npos) {
    std::vector<std::string> names;
    for (const CLI::Option* o : app->get_options())
      for (const auto& name : o->get_lnames()) names.push_back(name);
    const std::string option = text.substr(at + 2, text.find_first_of(" =:", at) - at - 2);
    const std::string guess = nearest(option, names);
    if (!guess.empty() && guess != option) hint = "; did you mean --" + guess + "?";
  }
  const std::string name = app == &root ? "segnext" : "segnext " + app->get_name();
  return fmt::format("{}{} (see {} --help)", text, hint, name);
}

}  // namespace

int run_command_line(int argc, char** argv) {
  CLI::App root{"SegNeXt: trains, scores and applies semantic segmentation", "segnext"};
  root.require_subcommand(1);
  root.set_version_flag("--version", version_text, "version, commit, what it was built for");
  root.footer("Start here:\n  segnext train --out run\n  segnext train --help");
  for (const auto& add :
       {train_command, pretrain_command, eval_command, predict_command, preset_command,
        study_command, data_command, prepare_command, info_command, convert_command, bench_command})
    add(Command(&root));
  try {
    root.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help
    return root.exit(e);
  } catch (const CLI::ParseError& e) {
    fail_input("{}", usage_error(root, e, argc > 1 ? argv[1] : ""));
  }
  return 0;
}

}  // namespace nextgrad
