// segnext info: what a model costs, beside the paper's figures.
#include <memory>

#include "apps/commands.h"
#include "models/cost.h"

namespace nextgrad {

Command info_command(CLI::App& root) {
  struct Arguments {
    std::string variant = "tiny";
    int classes = 150;
    Size size{512, 512};
  };
  CLI::App* app = root.add_subcommand("info", "Parameters, multiply-adds and memory of a model");
  auto a = std::make_shared<Arguments>();
  app->add_option("--variant", a->variant, "nano, tiny, small, base or large")
      ->capture_default_str();
  app->add_option("--classes", a->classes, "number of classes")
      ->check(CLI::Range(1, 255))
      ->capture_default_str();
  add_size(*app, "--size", a->size, "input of one image, WIDTHxHEIGHT [512]");
  app->footer("Example:\n  segnext info --variant small --size 1024x512 --classes 19");
  return {app, [a] {
            if (a->size.height == 0) fail_input("--size: must not be 0");
            const auto config = segnext_config(a->variant, a->classes);
            fmt::print("{}", cost_table(config, a->size.height, a->size.width));
          }};
}

}  // namespace nextgrad
