// segnext bench data: what each stage of making a training sample costs.
#include "apps/commands/bench_data.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "apps/report/progress.h"
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

// `across` scenes side by side.
Sample panorama(std::int64_t side, std::int64_t across, std::int64_t number) {
  DatasetConfig config;
  config.scene_size = side;
  const auto scenes = make_dataset(config, "train");
  Sample all{"", {side, side * across, {}}, {side, side * across, {}}};
  all.image.pixels.resize(static_cast<std::size_t>(3 * side * side * across));
  all.label.values.resize(static_cast<std::size_t>(side * side * across));
  for (std::int64_t k = 0; k < across; ++k) {
    const Sample one = scenes->load(number * across + k);
    for (std::int64_t y = 0; y < side; ++y) {
      const std::int64_t to = (y * across + k) * side;
      std::copy_n(one.image.pixels.begin() + 3 * y * side, 3 * side,
                  all.image.pixels.begin() + 3 * to);
      std::copy_n(one.label.values.begin() + y * side, side, all.label.values.begin() + to);
    }
  }
  return all;
}

// A data set of a few drawn pictures in that folder.
Files drawn(const fs::path& folder, bool jpeg) {
  const std::int64_t side = jpeg ? 512 : 1024, across = jpeg ? 1 : 2, count = jpeg ? 8 : 3;
  for (const char* sub : {"images", "labels"}) fs::create_directories(folder / sub);
  for (std::int64_t i = 0; i < count; ++i) {
    const Sample s = panorama(side, across, i);
    const std::string name = fmt::format("{}", i);
    write_file_atomic((folder / "images" / (name + (jpeg ? ".jpg" : ".png"))).string(),
                      jpeg ? encode_jpeg(s.image, 90) : encode_png(s.image));
    write_png((folder / "labels" / (name + ".png")).string(), s.label);
  }
  const auto scenes = make_dataset({}, "train");
  const std::string description = (folder / "data.toml").string();
  write_file_atomic(description, fmt::format("classes = [\"{}\"]\n[train]\nimages = \"images\"\n"
                                             "labels = \"labels\"\n",
                                             fmt::join(scenes->classes(), "\", \"")));
  DatasetConfig config;
  config.kind = "folder";
  config.root = description;
  Files files{
      jpeg ? "JPEG, drawn, 512x512" : "PNG, drawn, 2048x1024", make_dataset(config, "train"), {}};
  files.transform.crop_h = files.transform.crop_w = side;
  files.transform.base_short = side;
  files.transform.base_long = 2048;
  return files;
}

// Seconds of one call, the least of a few rounds over all samples, at least a quarter of a second
// in all.
double seconds_of(std::int64_t samples, const std::function<void(std::int64_t)>& work) {
  double least = 1e9;
  const Stopwatch all;
  for (int round = 0; round < 3 || all.seconds() < 0.25; ++round) {
    const Stopwatch clock;
    for (std::int64_t i = 0; i < samples; ++i) work(i);
    least = std::min(least, clock.seconds() / static_cast<double>(samples));
  }
  return least;
}

class DataBench {
 public:
  DataBench(const Files& files, std::int64_t most) : files_(files) {
    n_ = std::min(files.dataset->size(), most);
    const TrainTransform& t = files.transform;
    for (std::int64_t i = 0; i < n_; ++i) {
      images_.push_back(read_file(files.dataset->image_path(i), 1ull << 31));
      labels_.push_back(files.dataset->load_label(i));
      RandomStream random(key(i));
      crops_.push_back(t.draw(labels_.back(), random));
      whole_.push_back(decode_image(images_.back(), files.dataset->image_path(i)));
      resized_.push_back(resize_bilinear(whole_.back(), crops_.back().window));
    }
    image_.resize(static_cast<std::size_t>(3 * t.crop_h * t.crop_w));
    label_.resize(image_.size() / 3);
  }

  json run(int workers) {
    const TrainTransform& t = files_.transform;
    const Dataset& data = *files_.dataset;
    const auto at = [](std::int64_t i) { return static_cast<std::size_t>(i); };
    fmt::print("{}, {} images, crop {}x{}, one thread\n", files_.title, n_, t.crop_w, t.crop_h);
    stage("read and decode the label", [&](std::int64_t i) { data.load_label(i); });
    stage("decode the whole image",
          [&](std::int64_t i) { decode_image(images_[at(i)], data.image_path(i)); });
    stage("decode what the crop needs", [&](std::int64_t i) { part(i); });
    stage("draw scale and crop by the labels", [&](std::int64_t i) {
      RandomStream random(key(i));
      t.draw(labels_[at(i)], random);
    });
    stage("resize to the crop",
          [&](std::int64_t i) { resize_bilinear(whole_[at(i)], crops_[at(i)].window); });
    stage("photometric distortion", [&](std::int64_t i) {
      Image image = resized_[at(i)];
      RandomStream random(key(i));
      t.photometric.apply(image, random);
    });
    stage("normalise and pad",
          [&](std::int64_t i) { t.write(resized_[at(i)], crops_[at(i)].label, image_, label_); });
    const SampleMaker maker = crops_of(data, t);
    stage("a sample, from file to batch",
          [&](std::int64_t i) { maker.make(i, key(i), image_, label_); });
    loader(workers);
    return results_;
  }

 private:
  static RandomKey key(std::int64_t i) { return {1, static_cast<std::uint64_t>(i), 0, 0}; }

  void part(std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    const std::int64_t h = labels_[at].height, w = labels_[at].width;
    const int by = files_.transform.reduction(crops_[at].window, h, w);
    decode_image_part(images_[at], "",
                      source_of(crops_[at].window, (h + by - 1) / by, (w + by - 1) / by), h, w, by);
  }

  void report(const std::string& name, double seconds) {
    fmt::print("  {:36} {:8.2f} ms {:9.1f} images/s\n", name, 1e3 * seconds, 1 / seconds);
    results_.push_back({{"stage", name}, {"seconds", seconds}, {"images_per_second", 1 / seconds}});
  }
  void stage(const std::string& name, const std::function<void(std::int64_t)>& work) {
    report(name, seconds_of(n_, work));
  }
  void loader(int workers) {
    LoaderConfig config;
    config.batch = 4;
    config.workers = workers;
    config.end_iteration = std::max<std::int64_t>(8, 48 * n_ / 8 / config.batch);
    Loader loader(crops_of(*files_.dataset, files_.transform), config);
    loader.next();  // the threads are there
    const Stopwatch clock;
    while (!loader.done()) loader.next();
    report(fmt::format("loader, {} workers, batch {}", workers, config.batch),
           clock.seconds() / static_cast<double>((config.end_iteration - 1) * config.batch));
  }

  const Files& files_;
  std::int64_t n_;
  std::vector<std::vector<std::uint8_t>> images_;
  std::vector<LabelMap> labels_;
  std::vector<TrainTransform::Crop> crops_;
  std::vector<Image> whole_, resized_;
  std::vector<float> image_;
  std::vector<std::int32_t> label_;
  json results_ = json::array();
};

struct DataBenchArguments {
  DatasetConfig data;
  std::string split = "train", json_file;
  Size crop{512, 512}, base_size;
  int workers = 2;
  std::int64_t count = 32;
};

void run_data_bench(const DataBenchArguments& a, bool own) {
  check_output(a.json_file);
  json all = json::object();
  const auto measure = [&](const Files& files) {
    all[files.title] = DataBench(files, a.count).run(a.workers);
  };
  if (own) {
    Files files{a.data.kind, make_dataset(a.data, a.split), {}};
    if (files.dataset->image_path(0).empty())
      fail_input("--data {}: is drawn, there is no file to decode; leave --data out", a.data.kind);
    if (!files.dataset->has_labels()) fail_input("--split {}: has no labels", a.split);
    files.transform.crop_h = a.crop.height;
    files.transform.crop_w = a.crop.width;
    files.transform.base_short = std::min(a.base_size.height, a.base_size.width);
    files.transform.base_long = std::max(a.base_size.height, a.base_size.width);
    measure(files);
  } else {
    const Folder folder;
    for (const bool jpeg : {true, false})
      measure(drawn(folder.path / (jpeg ? "jpeg" : "png"), jpeg));
  }
  if (!a.json_file.empty()) write_json(a.json_file, all);
}

}  // namespace

Command data_bench_command(CLI::App& bench) {
  CLI::App* app = bench.add_subcommand("data", "Images per second of each stage of the input");
  auto a = std::make_shared<DataBenchArguments>();
  add_data(*app, a->data, a->split);
  add_size(*app, "--crop", a->crop, "training crop, with --data; 512");
  add_size(*app, "--base-size", a->base_size, "fit images into this first, with --data");
  app->add_option("--count", a->count, "images to measure with")->check(CLI::Range(1, 100000));
  app->add_option("--workers", a->workers, "threads of the loader")->check(CLI::Range(1, 256));
  app->add_option("--json", a->json_file, "also write the figures to this file");
  app->footer(
      "Without --data: drawn pictures, as JPEG of 512x512 and as PNG of 2048x1024.\n"
      "Example:\n"
      "  segnext bench data --data cityscapes --data-root cityscapes --crop 1024 --workers 8");
  return {app, [a, app] { run_data_bench(*a, app->count("--data") > 0); }};
}

}  // namespace nextgrad
