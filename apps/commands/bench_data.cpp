// segnext bench data: what each stage of making a training sample costs.
#include <algorithm>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "apps/commands/commands.h"
#include "apps/help.h"
#include "apps/report/progress.h"
#include "apps/training/train_task.h"
#include "data/datasets/scenes/scenes.h"
#include "data/files/file.h"
#include "data/stream/loader.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Pictures that are files, as the stages want them.
struct Files {
  std::string title;
  std::unique_ptr<Dataset> dataset;
  TrainTransform transform;
};

struct Folder {  // vanishes with its owner
  Folder() {
    std::string name = (fs::temp_directory_path() / "segnext-bench-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) fail("no temporary folder can be made in {}", name);
    path = name;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  fs::path path;
};

// A data set of a few drawn pictures in that folder.
Files drawn(const fs::path& folder, bool jpeg) {
  const std::int64_t side = jpeg ? 512 : 1024, width = jpeg ? 512 : 2048, count = jpeg ? 8 : 3;
  for (const char* sub : {"images", "labels"}) fs::create_directories(folder / sub);
  for (std::int64_t i = 0; i < count; ++i) {
    const Sample s = draw_scene(0, i, side, width);
    write_file_atomic(folder / "images" / fmt::format("{}.{}", i, jpeg ? "jpg" : "png"),
                      jpeg ? encode_jpeg(s.image, 90) : encode_png(s.image));
    write_png(folder / "labels" / fmt::format("{}.png", i), s.label);
  }
  const std::string description = folder / "data.toml";
  write_file_atomic(description, fmt::format("classes = [\"{}\"]\n[train]\nimages = \"images\"\n"
                                             "labels = \"labels\"\n",
                                             fmt::join(scene_classes(), "\", \"")));
  TrainConfig config;
  config.crop = {side, side};
  config.base_size = {side, 2048};
  return {jpeg ? "JPEG, drawn, 512x512" : "PNG, drawn, 2048x1024",
          make_dataset({"folder", description}, "train"), train_transform(config)};
}

// A sample as each stage finds it.
struct Stages {
  std::int64_t index;
  std::string path;
  std::vector<std::uint8_t> file;
  LabelMap label;
  TrainTransform::Crop crop;
  Image whole, resized;
  RandomKey key() const { return {1, static_cast<std::uint64_t>(index), 0, 0}; }
};

class DataBench {
 public:
  DataBench(const Files& files, std::int64_t most) : files_(files) {
    const Dataset& data = *files.dataset;
    for (std::int64_t i = 0; i < std::min(data.size(), most); ++i) {
      Stages s{i, data.image_path(i), {}, data.load_label(i), {}, {}, {}};
      s.file = read_file(s.path, kMaxPictureFile);
      RandomStream random(s.key());
      s.crop = files.transform.draw(s.label, random);
      s.whole = decode_image(s.file, s.path);
      s.resized = resize_bilinear(s.whole, s.crop.window);
      samples_.push_back(std::move(s));
    }
  }

  json run(int workers) {
    const TrainTransform& t = files_.transform;
    const Dataset& data = *files_.dataset;
    std::vector<float> image(static_cast<std::size_t>(3 * t.crop_h * t.crop_w));
    std::vector<std::int32_t> label(image.size() / 3);
    fmt::print("{}, {} images, crop {}x{}, one thread\n", files_.title, samples_.size(), t.crop_w,
               t.crop_h);
    stage("read and decode the label", [&](const Stages& s) { data.load_label(s.index); });
    stage("decode the whole image", [&](const Stages& s) { decode_image(s.file, s.path); });
    stage("decode what the crop needs", [&](const Stages& s) {
      const std::int64_t h = s.label.height, w = s.label.width;
      const int by = t.reduction(s.crop.window, h, w);
      const auto part = source_of(s.crop.window, (h + by - 1) / by, (w + by - 1) / by);
      decode_image_part(s.file, s.path, part, h, w, by);
    });
    stage("draw scale and crop by the labels", [&](const Stages& s) {
      RandomStream random(s.key());
      t.draw(s.label, random);
    });
    stage("resize to the crop", [&](const Stages& s) { resize_bilinear(s.whole, s.crop.window); });
    stage("photometric distortion", [&](const Stages& s) {
      Image changed = s.resized;
      RandomStream random(s.key());
      t.photometric.apply(changed, random);
    });
    stage("normalise and pad",
          [&](const Stages& s) { t.write(s.resized, s.crop.label, image, label); });
    const SampleMaker maker = crops_of(data, t);
    stage("a sample, from file to batch",
          [&](const Stages& s) { maker.make(s.index, s.key(), image, label); });
    loader(workers);
    return results_;
  }

 private:
  void report(const std::string& name, double seconds) {
    fmt::print("  {:36} {:8.2f} ms {:9.1f} images/s\n", name, 1e3 * seconds, 1 / seconds);
    results_.push_back({{"stage", name}, {"seconds", seconds}, {"images_per_second", 1 / seconds}});
  }
  // Of one call the least of a few rounds over all samples, a quarter of a second in all or more.
  void stage(const std::string& name, const std::function<void(const Stages&)>& work) {
    double least = 1e9;
    const Stopwatch all;
    for (int round = 0; round < 3 || all.seconds() < 0.25; ++round) {
      const Stopwatch clock;
      for (const Stages& sample : samples_) work(sample);
      least = std::min(least, clock.seconds() / static_cast<double>(samples_.size()));
    }
    report(name, least);
  }
  void loader(int workers) {
    LoaderConfig config;
    config.batch = 4;
    config.workers = workers;
    config.end_iteration = std::max<std::int64_t>(8, 48 * std::ssize(samples_) / 8 / config.batch);
    Loader loader(crops_of(*files_.dataset, files_.transform), config);
    loader.next();  // the threads are there
    const Stopwatch clock;
    while (!loader.done()) loader.next();
    report(fmt::format("loader, {} workers, batch {}", workers, config.batch),
           clock.seconds() / static_cast<double>((config.end_iteration - 1) * config.batch));
  }

  const Files& files_;
  std::vector<Stages> samples_;
  json results_ = json::array();
};

struct DataBenchArguments {
  DatasetConfig data;
  std::string split = "train", json_file;
  int workers = 2;
  std::int64_t count = 32;
  TrainConfig augmentation;
};

void run_data_bench(const DataBenchArguments& a, bool own) {
  check_output(a.json_file);
  json all = json::object();
  const auto measure = [&](const Files& files) {
    all[files.title] = DataBench(files, a.count).run(a.workers);
  };
  if (own) {
    const Files files{a.data.kind, make_dataset(a.data, a.split), train_transform(a.augmentation)};
    if (files.dataset->image_path(0).empty())
      fail_input("--data {}: is drawn, there is no file to decode; leave --data out", a.data.kind);
    if (!files.dataset->has_labels()) fail_input("--split {}: has no labels", a.split);
    measure(files);
  } else {
    const Folder folder;
    for (const bool jpeg : {true, false})
      measure(drawn(folder.path / (jpeg ? "jpeg" : "png"), jpeg));
  }
  write_json(a.json_file, all);
}

}  // namespace

void data_bench_command(Command bench) {
  const Command app =
      bench.subcommand("data", "Images per second of each stage of the input", help::bench_data);
  auto a = std::make_shared<DataBenchArguments>();
  a->augmentation.crop = {512, 512};
  add_data(app, a->data, a->split);
  app.size("--crop", a->augmentation.crop, "training crop, with --data; 512");
  app.size("--base-size", a->augmentation.base_size, "fit images into this first, with --data");
  app.option("--count", a->count, "images to measure with").range(1, 100000);
  app.option("--workers", a->workers, "threads of the loader").range(1, 256);
  app.option("--json", a->json_file, "also write the figures to this file");
  app.does([a, app] { run_data_bench(*a, app.given("--data")); });
}

}  // namespace nextgrad
