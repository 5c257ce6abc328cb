#include "apps/settings/presets.h"

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

}  // namespace

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
  const std::string guess = nearest(name, preset_names());
  fail_input("unknown preset '{}'; {}", name,
             guess.empty() ? "segnext preset list shows them" : "did you mean " + guess + "?");
}

}  // namespace nextgrad
