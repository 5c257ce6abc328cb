#include "apps/settings/presets.h"

#include <array>

#include "data/files/file.h"
#include "models/segmenter.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

struct Recipe {
  const char *name, *about;
  std::int64_t crop, long_side, short_side, batch, iterations;
  std::int64_t window = 0, stride = 0;  // of the test; 0: whole images
};

// Crop, size before the random scale, batch, iterations and test of the published configurations.
// The last three are not the paper's: sizes as in MMSegmentation's configurations of these sets.
// SegFormer's is the same recipe.
constexpr Recipe kRecipes[] = {
    {"ade20k", "ADE20K, 150 classes", 512, 2048, 512, 16, 160000},
    {"cityscapes", "Cityscapes, 19 classes, tested by a sliding window", 1024, 2048, 1024, 8,
     160000, 1024, 768},
    {"cocostuff", "COCO-Stuff 164k, 171 classes", 512, 2048, 512, 16, 80000},
    {"vocaug", "Pascal VOC 2012 with the augmented set, 21 classes", 512, 2048, 512, 16, 80000},
    {"voc", "Pascal VOC 2012 without it", 512, 2048, 512, 16, 80000},
    {"context59", "Pascal Context, 59 classes", 480, 2048, 520, 16, 80000},
    {"context60", "Pascal Context, 59 classes and the background", 480, 2048, 520, 16, 80000},
    {"isaid", "iSAID, 16 classes, patches made by segnext prepare isaid", 896, 896, 896, 16,
     160000},
    {"loveda", "LoveDA, 7 classes (not in the paper)", 512, 1024, 1024, 16, 80000},
    {"potsdam", "ISPRS Potsdam, 6 classes (not in the paper)", 512, 512, 512, 16, 80000},
    {"vaihingen", "ISPRS Vaihingen, 6 classes (not in the paper)", 512, 512, 512, 16, 80000},
};

// The papers': nano is our own.
std::vector<std::string> paper_variants() {
  std::vector<std::string> variants = variant_names();
  std::erase(variants, "nano");
  return variants;
}

TrainConfig config_of(const Recipe& r, const std::string& variant) {
  TrainConfig c;
  c.data = r.name;
  c.variant = variant;
  c.crop = {r.crop, r.crop};
  c.base_size = {r.short_side, r.long_side};
  if (variant == "b5" && c.data == "ade20k") {  // SegFormer's one exception
    c.crop = {640, 640};
    c.base_size = {640, r.long_side};
  }
  c.batch = r.batch;
  c.iterations = r.iterations;
  c.lr = 6e-5;
  c.head_lr_multiplier = 10;
  c.warmup = 1500;
  c.val_window = {r.window, r.window};
  c.val_stride = {r.stride, r.stride};
  c.val_multiple = r.window > 0 ? 1 : 32;
  c.val_every = 8000;
  c.checkpoint_every = 1000;
  c.workers = 4;
  return c;
}

struct PhasedRecipe {
  const char *name, *about;
  struct Part {
    const char* data;             // of kRecipes
    std::int64_t iterations = 0;  // 0: the recipe's own
    const char* split = "train";
  };
  std::array<Part, 2> parts;
};
// Table S1 of the paper, and its text on Context.
constexpr PhasedRecipe kPhased[] = {
    {"voc-trainval",
     "Pascal VOC 2012: 80k on trainaug, then 80k on trainval",
     {{{"vocaug"}, {"voc", 80000, "trainval"}}}},
    {"voc-coco",
     "Pascal VOC 2012 with COCO: 600k on COCO-Stuff, then 40k on trainval",
     {{{"cocostuff", 600000}, {"voc", 40000, "trainval"}}}},
    {"context59-ade20k", "Pascal Context, 59 classes, from ADE20K", {{{"ade20k"}, {"context59"}}}},
    {"context60-ade20k", "Pascal Context, 60 classes, from ADE20K", {{{"ade20k"}, {"context60"}}}},
};
constexpr const char* kFirst = "imagenet";

const std::string kPhaseKey = "phase.";

// Of the entries of its table.
Phase phase_of(const ConfigEntries& entries, const std::string& path) {
  Phase phase;
  std::string command = "train";
  for (const ConfigEntry& e : entries)
    if (e.key == "command" && e.value == "pretrain") phase.config = PretrainConfig();
  std::visit(
      [&](auto& config) {
        Settings settings = settings_of(config);
        settings.emplace_back("name", "of the phase's folder", phase.name);
        settings.emplace_back("command", "that runs it", command,
                              std::vector<std::string>{"train", "pretrain"});
        set_entries(entries, path, settings);
      },
      phase.config);
  if (phase.name.empty() || phase.name.front() == '.' ||
      phase.name.find_first_of("/\\") != std::string::npos)
    fail_input("{}: a phase's name \"{}\" is no name of a folder; give each phase one", path,
               phase.name);
  return phase;
}

// DeiT's, which the paper follows for ImageNet, batches of 1024 by accumulation.
PretrainConfig imagenet_config(const std::string& variant) {
  PretrainConfig c;
  c.variant = variant;
  c.accumulate = 8;
  c.lr = 1e-3;
  c.workers = 8;
  return c;
}

}  // namespace

std::vector<PresetData> phased_preset_data() {
  std::vector<PresetData> data;
  for (const PhasedRecipe& r : kPhased) data.push_back({r.name, r.about});
  for (const Recipe& r : kRecipes)
    data.push_back({fmt::format("{}-{}", kFirst, r.name),
                    fmt::format("the encoder on ImageNet, 300 epochs, then {}", r.about)});
  return data;
}

std::vector<Phase> preset_phases(const std::string& name) {
  for (const std::string& variant : paper_variants()) {
    for (const PhasedRecipe& r : kPhased) {
      if (name != fmt::format("{}-{}", r.name, variant)) continue;
      std::vector<Phase> phases;
      for (const PhasedRecipe::Part& part : r.parts) {
        TrainConfig c = preset_config(fmt::format("{}-{}", part.data, variant));
        if (part.iterations > 0) c.iterations = part.iterations;
        c.train_split = part.split;
        phases.push_back({part.data, c});
      }
      return phases;
    }
    for (const Recipe& r : kRecipes)
      if (name == fmt::format("{}-{}-{}", kFirst, r.name, variant))
        return {{kFirst, imagenet_config(variant)}, {r.name, config_of(r, variant)}};
  }
  return {};
}

std::string phases_text(const std::vector<Phase>& phases) {
  std::string text =
      "# Runs that follow on each other, each from the last one's weights; the classifier begins "
      "anew where\n# the classes differ. Use with: segnext train --config FILE --out RUN\n";
  for (const Phase& phase : phases)
    std::visit(
        [&](auto config) {
          const std::string command = decltype(config)::kCommand;
          text += fmt::format("\n[[phase]]\nname = \"{}\"\ncommand = \"{}\"\n", phase.name,
                              command.substr(command.rfind(' ') + 1));
          for (const Setting& s : settings_of(config))
            text += fmt::format("{} = {}\n", s.key, s.str());
        },
        phase.config);
  return text;
}

std::vector<Phase> read_phases(const std::string& path) {
  std::vector<ConfigEntries> tables;
  ConfigEntries others;
  for (ConfigEntry& e : config_entries(read_text(path, 1 << 20), path)) {
    const std::size_t dot = e.key.find('.', kPhaseKey.size());
    const auto index =
        e.key.starts_with(kPhaseKey)
            ? parse_number<std::size_t>(e.key.substr(kPhaseKey.size(), dot - kPhaseKey.size()))
            : std::nullopt;
    if (!index || *index > tables.size()) {  // they come in their order
      others.push_back(std::move(e));
      continue;
    }
    tables.resize(std::max(tables.size(), *index + 1));
    if (dot == std::string::npos) continue;  // an empty table
    e.key = e.key.substr(dot + 1);
    tables[*index].push_back(std::move(e));
  }
  if (!tables.empty()) set_entries(others, path, {});  // nothing stands beside them
  std::vector<Phase> phases;
  for (const ConfigEntries& entries : tables) phases.push_back(phase_of(entries, path));
  return phases;
}

std::vector<PresetData> preset_data() {
  std::vector<PresetData> data;
  for (const Recipe& r : kRecipes) data.push_back({r.name, r.about});
  return data;
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const Recipe& r : kRecipes)
    for (const std::string& variant : paper_variants())
      names.push_back(fmt::format("{}-{}", r.name, variant));
  return names;
}

TrainConfig preset_config(const std::string& name) {
  for (const Recipe& r : kRecipes)
    for (const std::string& variant : paper_variants())
      if (name == fmt::format("{}-{}", r.name, variant)) return config_of(r, variant);
  if (!preset_phases(name).empty())
    fail_input("preset {} has several phases; segnext train and preset show take it", name);
  std::vector<std::string> names = preset_names();
  for (const PresetData& r : phased_preset_data())
    for (const std::string& variant : paper_variants())
      names.push_back(fmt::format("{}-{}", r.name, variant));
  const std::string guess = nearest(name, names);
  fail_input("unknown preset '{}'; {}", name,
             guess.empty() ? "segnext preset list shows them" : "did you mean " + guess + "?");
}

}  // namespace nextgrad
