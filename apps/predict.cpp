// segnext predict: pictures of what a model sees, for files or for images of a data set.
#include <glob.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "apps/checkpoint.h"
#include "apps/commands.h"
#include "apps/evaluator.h"
#include "apps/pipeline.h"
#include "apps/progress.h"
#include "apps/protocol.h"
#include "data/file.h"
#include "data/palette.h"

namespace nextgrad {
namespace {

namespace fs = std::filesystem;

struct PredictArguments {
  std::vector<std::string> inputs;
  std::string weights, variant, output = "predictions";
  std::optional<DatasetConfig> from_data;
  DatasetConfig data;
  std::string split = "val";
  std::int64_t count = 8;
  bool overlay = false, colour = false, index = false, overwrite = false, submission = false;
  double alpha = 0.5;
  ProtocolOptions protocol;
  Placement placement;
  int threads = 0;
  std::vector<std::string> kinds() const {
    std::vector<std::string> k;
    if (submission) return {"submission"};
    if (overlay || !(colour || index)) k.push_back("overlay");
    if (colour) k.push_back("colour");
    if (index) k.push_back("index");
    return k;
  }
};

// A file is itself, a folder its images, a pattern what it matches.
std::vector<std::string> expand(const std::string& input) {
  if (fs::is_directory(input)) {
    auto files = list_files(input, image_suffixes());
    if (files.empty()) fail_input("{}: no images in this folder; give another", input);
    return files;
  }
  if (fs::exists(input) || input.find_first_of("*?[") == std::string::npos) return {input};
  glob_t matches{};
  const int status = glob(input.c_str(), 0, nullptr, &matches);
  std::vector<std::string> files(matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
  globfree(&matches);
  if (status != 0 || files.empty()) fail_input("{}: matches no file", input);
  return files;
}

// Where an image comes from, and its name without folder and suffix.
struct Source {
  std::string name;
  std::string path;  // "" for an image of the data set
  std::int64_t index = 0;
};

std::vector<Source> sources_of(const PredictArguments& a, const Dataset* dataset) {
  std::vector<Source> sources;
  if (dataset != nullptr)
    for (std::int64_t i = 0;
         i < (a.submission ? dataset->size() : std::min(a.count, dataset->size())); ++i)
      sources.push_back({dataset->name(i), "", i});
  for (const auto& input : a.inputs)
    for (const auto& path : expand(input)) {
      if (!fs::exists(path)) fail_input("{}: no such file; give a file, a folder or a glob", path);
      sources.push_back({fs::path(path).stem().string(), path, 0});
    }
  // Two images of one name (a.jpg, a.png) keep their suffixes: a.jpg.png, a.png.png.
  std::map<std::string, int> uses;
  for (const auto& s : sources) ++uses[s.name];
  for (auto& s : sources)
    if (uses[s.name] > 1 && !s.path.empty()) s.name = fs::path(s.path).filename().string();
  std::map<std::string, std::string> seen;
  for (const auto& s : sources)
    if (const auto [at, fresh] = seen.emplace(s.name, s.path); !fresh)
      fail_input("{}: would be written over the result of {}; predict them into two folders",
                 s.path, at->second);
  return sources;
}

// Makes folders, and takes those away again into which nothing was put.
class OutputFolders {
 public:
  OutputFolders() = default;
  OutputFolders(const OutputFolders&) = delete;
  OutputFolders& operator=(const OutputFolders&) = delete;
  ~OutputFolders() {
    std::error_code not_empty;
    for (auto path = made_.rbegin(); path != made_.rend(); ++path) fs::remove(*path, not_empty);
  }
  void make(const fs::path& path) {
    std::error_code error;
    std::vector<fs::path> missing;  // innermost first
    for (fs::path p = path; !p.empty() && !fs::exists(p, error); p = p.parent_path())
      missing.push_back(p);
    made_.insert(made_.end(), missing.rbegin(), missing.rend());
    fs::create_directories(path, error);
    if (error || !fs::is_directory(path, error))
      fail_input("{}: cannot be made a folder: {}; choose another --output", path.string(),
                 error ? error.message() : "something else has this name");
  }

 private:
  std::vector<fs::path> made_;
};

class Writer {
 public:
  // Every file that will be written is checked before the first is.
  // `suffix`: of the files' names.
  Writer(const PredictArguments& a, std::vector<std::string> kinds,
         const std::vector<Source>& sources, std::string suffix)
      : folder_(a.output), suffix_(std::move(suffix)), nested_(kinds.size() > 1) {
    for (const auto& kind : kinds)
      for (const auto& s : sources)
        if (fs::exists(path(kind, s.name)) && !a.overwrite)
          fail_input("{}: exists; add --overwrite or choose another --output",
                     path(kind, s.name).string());
        else if (fs::exists(path(kind, s.name)) && !s.path.empty() &&
                 fs::equivalent(path(kind, s.name), s.path))
          fail_input("{}: is an input itself; choose another --output", s.path);
    for (const auto& kind : kinds) folders_.make(nested_ ? folder_ / kind : folder_);
  }
  fs::path path(const std::string& kind, const std::string& name) const {
    return (nested_ ? folder_ / kind : folder_) / (name + suffix_);
  }

 private:
  fs::path folder_;
  std::string suffix_;
  bool nested_;
  OutputFolders folders_;
};

// All that is fixed before the first picture; read by several threads.
struct Job {
  const PredictArguments& arguments;
  const LoadedModel& loaded;
  const Dataset* dataset;
  std::vector<Source> sources;
  std::vector<std::string> kinds;
  Protocol protocol;

  Prepared prepare(std::int64_t i) const {
    const Source& s = sources[static_cast<std::size_t>(i)];
    Sample sample =
        s.path.empty() ? dataset->load(s.index) : Sample{s.name, read_image(s.path), {}};
    std::vector<Image> views = resize_views(protocol, sample.image);
    return {std::move(sample), std::move(views)};
  }
  void write(const Writer& writer, const std::string& name, const Sample& sample,
             const LabelMap& label) const {
    const auto& palette = loaded.info.palette;
    for (const auto& kind : kinds) {
      const std::string path = writer.path(kind, name).string();
      if (kind == "overlay")
        write_png(path, overlay(sample.image, label, palette, arguments.alpha));
      if (kind == "colour") write_png(path, colorize(label, palette));
      if (kind == "index") write_png(path, label);
      if (kind == "image") write_png(path, sample.image);
      if (kind == "submission") {
        const Submission& wanted = dataset->submission();
        write_png(path, wanted.encode(label), wanted.palette);
      }
      if (kind == "truth") write_png(path, colorize(sample.label, dataset->palette()));
    }
  }
};

// The network runs here; the next pictures are read and the last ones written beside it.
void predict_all(const Job& job, const Writer& writer) {
  const auto n = static_cast<std::int64_t>(job.sources.size());
  const Stopwatch clock;
  double network = 0;
  ProgressLine progress(stdout);
  Behind results;
  Ahead<Prepared> pictures(
      n, [&](std::int64_t i) { return job.prepare(i); },
      static_cast<std::size_t>(job.arguments.protocol.workers));
  ModelForward forward(*job.loaded.model);
  for (std::int64_t i = 0; i < n; ++i) {
    Prepared p;
    try {
      p = pictures.next();
    } catch (...) {
      results.finish();  // whose error, if any, came first
      throw;
    }
    const Stopwatch busy;
    const auto& image = p.sample.image;
    LabelMap label = predict_labels(
        forward, job.protocol, p.views, image.height, image.width, [&](double share) {
          const double seconds = clock.seconds();
          const double all = (static_cast<double>(i) + share) / static_cast<double>(n);
          progress.update(fmt::format("image {} of {}: {:.0f} %  left {}", i + 1, n, 100 * share,
                                      format_duration(seconds / all - seconds)));
        });
    network += busy.seconds();
    results.begin([&job, &writer, name = job.sources[static_cast<std::size_t>(i)].name,
                   sample = std::move(p.sample),
                   label = std::move(label)] { job.write(writer, name, sample, label); });
    if (i + 1 == n) results.finish();
    progress.update(fmt::format("{} of {} images  {:.1f} images/s", i + 1, n,
                                static_cast<double>(i + 1) / clock.seconds()),
                    i + 1 == n);
  }
  progress.finish();
  fmt::print("{} images in {}: {:.1f} images/s, the network {:.0f} % of the time\n", n,
             job.arguments.output, static_cast<double>(n) / clock.seconds(),
             100 * network / clock.seconds());
}

void run_predict(const CLI::App& app, const PredictArguments& a) {
  const bool data_set = a.from_data.has_value();
  if (a.submission && !data_set)
    fail_input("--submission wants --data: whose judges' format it is");
  if (data_set == !a.inputs.empty())
    fail_input("predict: give images (files, a folder or a glob) or --data, one of the two");
  set_num_threads(a.threads);
  const LoadedModel loaded = load_weights(a.weights, a.variant, a.placement);
  std::unique_ptr<Dataset> dataset;
  if (data_set) dataset = make_dataset(a.data, a.split);
  Job job{a,
          loaded,
          dataset.get(),
          sources_of(a, dataset.get()),
          a.kinds(),
          protocol_of(app, a.protocol, loaded.info.normalize)};
  if (a.submission) {
    const std::string& note = dataset->submission().note;
    if (!note.empty()) fmt::print("{}\n", note);
  } else {
    job.protocol.one_step = true;  // no pixel that one would see differs
    // From a data set there is more to look at: the image and the truth.
    if (data_set) job.kinds.push_back("image");
    if (data_set && dataset->has_labels()) job.kinds.push_back("truth");
  }
  const Writer writer(a, job.kinds, job.sources,
                      a.submission ? dataset->submission().suffix : ".png");
  predict_all(job, writer);
}

}  // namespace

Command predict_command(CLI::App& root) {
  CLI::App* app = root.add_subcommand("predict", "Segment images");
  auto a = std::make_shared<PredictArguments>();
  app->add_option("images", a->inputs, "files, folders or globs in quotes");
  app->add_option("--weights", a->weights,
                  "weights written by segnext train, or others' .pth or .safetensors")
      ->required();
  app->add_option("--variant", a->variant, "only for weights whose shapes do not say it");
  app->add_option("--output", a->output, "folder of the results")->capture_default_str();
  app->add_flag("--overlay", a->overlay, "image under its classes' colours (the default)");
  app->add_flag("--colour,--color", a->colour, "the classes' colours alone");
  app->add_flag("--index", a->index, "grey PNG whose values are the classes");
  app->add_flag("--submission", a->submission,
                "all images of the data set's split, as its evaluation server wants them");
  app->add_option("--alpha", a->alpha, "share of the colour in an overlay")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  add_protocol(*app, a->protocol);
  add_data(*app, a->data, a->split);
  app->add_option("--count", a->count, "how many images of the data set")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  app->add_flag("--overwrite", a->overwrite, "replace results that exist");
  app->add_option("--threads", a->threads, "threads that compute; 0 = all cores")
      ->check(CLI::Range(0, 1024));
  add_placement(*app, a->placement);
  app->footer(
      "Results keep the images' names (as .png) and sizes; several kinds go into sub-folders.\n"
      "Examples:\n"
      "  segnext predict --weights run/best.safetensors photos/ --output seen\n"
      "  segnext predict --weights run/best.safetensors 'a/*.jpg' --colour --index\n"
      "  segnext predict --weights run/best.safetensors --data scenes --split test --count 4\n"
      "  segnext predict --weights city.pth --preset cityscapes-tiny --data cityscapes \\\n"
      "      --split test --submission --output upload");
  return {app, [a, app] {
            if (app->count("--data") > 0) {
              use_preset_data(*app, a->protocol.preset, a->data);
              a->from_data = a->data;
            }
            run_predict(*app, *a);
          }};
}

}  // namespace nextgrad
