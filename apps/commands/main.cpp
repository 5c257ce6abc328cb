// segnext: exit code 0 = done (also when a signal asked to stop), 1 = failure at run time, 2 = bad
// usage or input. Every error is one line on stderr.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "apps/commands/commands.h"
#include "apps/report/progress.h"
#include "tensor/error.h"
#include "tensor/threads.h"

namespace nextgrad {
namespace {

int complain(int code, const std::string& text) {
  std::fflush(stdout);
  say(stderr, fmt::format("segnext: {}\n", printable(text)));
  return code;
}

// A standard descriptor that is closed would be the number of the next file opened, and messages
// would land in it. Opened the wrong way round, it refuses them instead.
void hold_standard_descriptors() {
  for (int fd = 0; fd <= 2; ++fd)
    if (fcntl(fd, F_GETFD) == -1) (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

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

int run(int argc, char** argv) {
  CLI::App root{"SegNeXt: trains, scores and applies semantic segmentation", "segnext"};
  root.require_subcommand(1);
  root.set_version_flag("--version", version_text, "version, commit, what it was built for");
  root.footer("Start here:\n  segnext train --out run\n  segnext train --help");
  for (const auto& add :
       {train_command, pretrain_command, eval_command, predict_command, preset_command,
        data_command, prepare_command, info_command, convert_command, bench_command})
    add(root);
  try {
    root.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help
    return root.exit(e);
  } catch (const CLI::ParseError& e) {
    return complain(2, usage_error(root, e, argc > 1 ? argv[1] : ""));
  }
  return 0;
}

}  // namespace
}  // namespace nextgrad

int main(int argc, char** argv) {
  using nextgrad::complain;
  nextgrad::hold_standard_descriptors();
  nextgrad::let_idle_threads_sleep(argv);
  signal(SIGXFSZ, SIG_IGN);  // a file-size limit then is a write error like any other
  signal(SIGPIPE, SIG_IGN);  // and so is a reader who left
  int code = 1;
  try {
    code = nextgrad::run(argc, argv);
  } catch (const nextgrad::InputError& e) {
    return complain(2, e.what());
  } catch (const std::bad_alloc&) {
    return complain(1, "out of memory; give it smaller pictures, or fewer at a time");
  } catch (const std::exception& e) {
    return complain(1, e.what());
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
    return complain(1, fmt::format("standard output: {}", std::strerror(errno)));
  return code;
}
