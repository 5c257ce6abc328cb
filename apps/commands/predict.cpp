// segnext predict: pictures of what a model sees, for files or for images of a data set.
#include <glob.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>

#include "apps/commands/commands.h"
#include "apps/help.h"
#include "apps/inference/checkpoint.h"
#include "apps/inference/evaluator.h"
#include "apps/inference/explain.h"
#include "apps/inference/pipeline.h"
#include "apps/report/explain_page.h"
#include "apps/report/progress.h"
#include "apps/settings/same.h"
#include "data/files/file.h"
#include "data/images/palette.h"
#include "tensor/communicator.h"
#include "tensor/error.h"
#include "tensor/threads.h"

namespace nextgrad {
namespace {

namespace fs = std::filesystem;

// --- what is read, and where the results go: checked as a whole before anything is done ---

// Where an image comes from, and the name of its results: its own without suffix, after the folder
// it has within the one that was given.
struct Source {
  std::string name;
  std::string path;  // "" for an image of the data set
  std::int64_t index = 0;
  std::string called = path;  // by messages
};

bool is_there(const fs::path& path) {
  std::error_code error;
  const bool there = fs::exists(path, error);
  if (error) fail_input("{}: {}; give another name", path.string(), error.message());
  return there;
}

// Whether a path lies in a folder.
bool is_below(const fs::path& path, const fs::path& folder) {
  std::error_code error;
  const fs::path relative =
      fs::weakly_canonical(path, error).lexically_relative(fs::weakly_canonical(folder, error));
  return !relative.empty() && *relative.begin() != "..";
}

// The images of a folder and its sub-folders, but for results that lie in it.
std::vector<Source> images_in(const std::string& folder, const std::string& output) {
  const bool results = is_below(output, folder) && !is_below(folder, output);
  std::vector<Source> sources;
  std::size_t passed = 0;
  for (const std::string& name : list_pictures(folder)) {
    const fs::path relative = name;
    const fs::path path = fs::path(folder) / relative;
    if (results && is_below(path, output))
      ++passed;
    else
      sources.push_back({(relative.parent_path() / relative.stem()).string(), path.string(), 0});
  }
  if (passed > 0)
    fmt::print("{}: {} pictures in it lie in --output {} and are taken for results\n",
               printable(folder), passed, printable(output));
  if (sources.empty()) fail_input("{}: no images in this folder; give another", folder);
  return sources;
}

// A file is itself, a folder its images, a pattern what it matches.
std::vector<Source> expand(const std::string& input, const std::string& output) {
  std::error_code ignored;
  if (fs::is_directory(input, ignored)) return images_in(input, output);
  std::vector<std::string> files{input};
  if (!is_there(input) && input.find_first_of("*?[") != std::string::npos) {
    glob_t matches{};
    const int status = glob(input.c_str(), 0, nullptr, &matches);
    files.assign(matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
    globfree(&matches);
    if (status != 0 || files.empty()) fail_input("{}: matches no file", input);
  }
  std::vector<Source> sources;
  for (const auto& path : files) {
    if (!is_there(path)) fail_input("{}: no such file; give a file, a folder or a glob", path);
    sources.push_back({fs::path(path).stem().string(), path, 0});
  }
  return sources;
}

// The images that are meant by files, folders (with their sub-folders, but without the results that
// lie in one) and patterns. Two of one name keep their suffixes. Throws InputError for what is not
// there.
std::vector<Source> sources_of(const std::vector<std::string>& inputs, const std::string& output) {
  std::vector<Source> sources;
  for (const auto& input : inputs)
    for (auto& source : expand(input, output)) sources.push_back(std::move(source));
  // a.jpg and a.png: their results are a.jpg.png and a.png.png.
  std::map<std::string, int> uses;
  for (const auto& s : sources) ++uses[s.name];
  for (auto& s : sources)
    if (uses[s.name] > 1) s.name += fs::path(s.path).extension().string();
  return sources;
}

// The first `count` of a data set.
std::vector<Source> sources_of(const Dataset& dataset, std::int64_t count) {
  std::vector<Source> sources;
  for (std::int64_t i = 0; i < std::min(count, dataset.size()); ++i)
    sources.push_back({dataset.name(i), "", i, dataset.called(i)});
  return sources;
}

// The files of the results: one for each image and kind. A kind has a sub-folder if there are
// several.
class Results {
 public:
  enum class Existing { refused, skipped, replaced };
  // `suffix`: of the files' names.
  Results(std::string folder, std::vector<std::string> kinds, std::string suffix)
      : folder_(std::move(folder)), kinds_(std::move(kinds)), suffix_(std::move(suffix)) {}
  const std::vector<std::string>& kinds() const { return kinds_; }
  Results(const Results&) = delete;
  Results& operator=(const Results&) = delete;
  // Takes those folders away again into which nothing was put.
  ~Results() {
    std::error_code not_empty;
    for (auto path = made_.rbegin(); path != made_.rend(); ++path) fs::remove(*path, not_empty);
  }

  fs::path path(const std::string& kind, const std::string& name) const {
    return (kinds_.size() > 1 ? folder_ / kind : folder_) / (name + suffix_);
  }

  // Takes out the sources that have all their results, if that is what is to be done with them.
  // Throws InputError for results that exist otherwise, that are an input themselves, that would be
  // one file, one the folder of another, or outside the folder.
  void check(Existing existing, std::vector<Source>& sources) const {
    check_collisions(sources);
    std::erase_if(sources, [&](const Source& s) {
      std::size_t there = 0;
      for (const auto& kind : kinds_) {
        const fs::path result = path(kind, s.name);
        if (!is_there(result)) continue;
        ++there;
        std::error_code ignored;
        if (!s.path.empty() && fs::equivalent(result, s.path, ignored))
          fail_input("{}: is an input itself; choose another --output", s.path);
        if (existing == Existing::refused)
          fail_input(
              "{}: exists; add --skip-existing to predict only what is missing, --overwrite "
              "to replace it, or choose another --output",
              result.string());
      }
      return existing == Existing::skipped && there == kinds_.size();
    });
  }

  void make_folders(const std::vector<Source>& sources) {
    std::error_code error;
    for (const auto& kind : kinds_)
      for (const auto& s : sources) {
        const fs::path folder = path(kind, s.name).parent_path();
        for (fs::path p = folder; !p.empty() && !fs::exists(p, error); p = p.parent_path())
          made_.insert(p);
        make_folder(folder, "--output");
      }
  }

 private:
  void check_collisions(const std::vector<Source>& sources) const {
    std::map<fs::path, const Source*> seen;
    for (const auto& s : sources) {
      const fs::path name = fs::path(s.name + suffix_).lexically_normal();
      if (name.is_absolute() || *name.begin() == "..")
        fail_input("{}: its result would lie outside --output; give its folder", s.called);
      if (name.filename().string().size() > 255)
        fail_input("{}: its result would have a name of {} bytes, 255 are the most; rename it",
                   s.called, name.filename().string().size());
      if (const auto [at, fresh] = seen.emplace(name, &s); !fresh)
        fail_input("{}: would be written over the result of {}; predict them into two folders",
                   s.called, at->second->called);
    }
    for (const auto& [name, source] : seen)
      for (fs::path p = name.parent_path(); !p.empty(); p = p.parent_path())
        if (const auto at = seen.find(p); at != seen.end())
          fail_input(
              "{}: its result would be the folder of that of {}; predict them into two "
              "folders",
              at->second->called, source->called);
  }

  fs::path folder_;
  std::vector<std::string> kinds_;
  std::string suffix_;
  std::set<fs::path> made_;  // a folder before those in it
};

// --- the predictions ---

struct PredictArguments {
  std::vector<std::string> inputs;
  std::string weights, variant, output = "predictions";
  DatasetConfig data;
  std::string split = "val";
  std::int64_t count = 8;
  bool overlay = false, colour = false, index = false, overwrite = false, submission = false;
  bool skip_existing = false, any_classes = false, explain = false;
  std::vector<std::string> explain_classes;
  std::vector<double> pixel{0.5, 0.5};
  int explain_stage = 4;
  double alpha = 0.5;
  ProtocolOptions protocol;
  Placement placement;
  std::vector<std::string> kinds() const {
    std::vector<std::string> k;
    if (submission) return {"submission"};
    if (explain) return {"explain"};
    if (overlay || !(colour || index)) k.push_back("overlay");
    if (colour) k.push_back("colour");
    if (index) k.push_back("index");
    return k;
  }
};

// A class by its name, or by its number.
int class_of(const std::string& wanted, const ModelInfo& info) {
  const auto found = std::ranges::find(info.classes, wanted);
  if (found != info.classes.end()) return static_cast<int>(found - info.classes.begin());
  const auto number = parse_number<int>(wanted);
  if (number && *number >= 0 && *number < info.num_classes) return *number;
  const std::string guess = nearest(wanted, info.classes);
  fail_input("--explain-class {}: no class of these weights; {}", in_quotes(wanted),
             guess.empty() ? fmt::format("give a number from 0 to {} or a name: {}",
                                         info.num_classes - 1, fmt::join(info.classes, ", "))
                           : "did you mean " + guess + "?");
}

ExplainOptions explain_options(const PredictArguments& a, const LoadedModel& loaded) {
  if (a.pixel.size() != 2) fail_input("--pixel: wants two numbers, such as 0.5,0.5");
  ExplainOptions options{.classes = {}, .stage = a.explain_stage, .x = a.pixel[0], .y = a.pixel[1]};
  for (const std::string& wanted : a.explain_classes)
    options.classes.push_back(class_of(wanted, loaded.info));
  check_explain(options, loaded.model->config());
  return options;
}

// All that is fixed before the first picture; read by several threads.
struct Job {
  const PredictArguments& arguments;
  const LoadedModel& loaded;
  const Dataset* dataset;
  std::vector<Source> sources;
  Protocol protocol;
  ExplainOptions explain;

  // What the network is to see.
  Prepared prepare(std::int64_t i) const {
    const Source& s = sources[static_cast<std::size_t>(i)];
    return with_memory_for(s.called, kReadRemedy, [&] {
      Sample sample =
          s.path.empty() ? dataset->load(s.index) : Sample{s.name, read_image(s.path), {}};
      std::vector<Image> views = resize_views(protocol, sample.image);
      return Prepared{std::move(sample), std::move(views)};
    });
  }
  // The page of where the model looks in what the network sees.
  std::string explanation(const std::string& name, const Image& view) const {
    const Explanation e =
        nextgrad::explain(*loaded.model, view, protocol.transform.normalize, explain);
    ModelForward forward(*loaded.model);
    const LabelMap label = predict_labels(forward, protocol, {view}, view.height, view.width);
    return explain_page(name, view, label, e, loaded.info);
  }
  void write(const Results& results, const std::string& name, const Sample& sample,
             const LabelMap& label) const {
    const auto& palette = loaded.info.palette;
    for (const auto& kind : results.kinds()) {
      const std::string path = results.path(kind, name).string();
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

// Pictures that cannot be read, or not be held in memory, are no reason to leave out the others.
class Failures {
 public:
  // Calls `work`; false if its picture is one of them.
  template <class Fn>
  bool without(Fn&& work) {
    try {
      work();
      return true;
    } catch (const InputError& e) {
      add(e.what(), false);
    } catch (const OutOfMemory& e) {
      add(e.what(), true);
    }
    return false;
  }
  // Any thread may call it.
  void add(const std::string& line, bool memory) {
    const std::scoped_lock lock(mutex_);
    lines_.push_back(line);
    memory_ = memory_ || memory;
  }
  std::int64_t count() const { return std::ssize(lines_); }
  // Those of all ranks, on all of them.
  void add_all(Communicator& everyone) {
    const nlohmann::json own = {lines_, memory_};
    const auto replace = nlohmann::json::error_handler_t::replace;
    const auto texts = everyone.gather(own.dump(-1, ' ', false, replace));
    lines_.clear();
    for (const std::string& text : texts) {
      const auto all = nlohmann::json::parse(text);
      for (const std::string line : all[0]) lines_.push_back(line);
      memory_ = memory_ || all[1].get<bool>();
    }
  }
  // A line for each, and the error that ends the command.
  void report(std::int64_t pictures) const {
    if (lines_.empty()) return;
    std::fflush(stdout);
    if (pictures == 1) memory_ ? throw OutOfMemory(lines_[0]) : fail_input("{}", lines_[0]);
    if (world().is_root())
      for (const std::string& line : lines_) fmt::print(stderr, "segnext: {}\n", printable(line));
    const std::string text = fmt::format(
        "{} of {} images could not be predicted, named above; mend or remove them and call again "
        "with --skip-existing for what is missing",
        lines_.size(), pictures);
    if (memory_) throw OutOfMemory(text);
    fail_input("{}", text);
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> lines_;
  bool memory_ = false;
};

// The network runs here; the next pictures are read and the last ones written beside it. Each rank
// does every size-th picture.
void predict_all(const Job& job, const Results& results) {
  Communicator& everyone = world();
  const auto all = static_cast<std::int64_t>(job.sources.size());
  const std::int64_t size = everyone.size(), n = (all - everyone.rank() + size - 1) / size;
  const auto index = [&](std::int64_t k) { return k * size + everyone.rank(); };
  const Stopwatch clock;
  double network = 0;
  ProgressLine progress(stdout);
  Failures failures;
  Behind files;
  Ahead<Prepared> pictures(
      n, [&](std::int64_t k) { return job.prepare(index(k)); },
      static_cast<std::size_t>(job.arguments.protocol.workers));
  ModelForward forward(*job.loaded.model);
  for (std::int64_t i = 0; i < n; ++i) {
    everyone.check_peers();
    const Source& source = job.sources[static_cast<std::size_t>(index(i))];
    Prepared picture;
    LabelMap label;
    const bool done = failures.without([&] {
      picture = pictures.next();
      const Stopwatch busy;
      const auto show = [&](double share) {
        const double seconds = clock.seconds();
        const double done = (static_cast<double>(i) + share) / static_cast<double>(n);
        progress.update(fmt::format("image {} of {}: {:.0f} %  left {}", index(i) + 1, all,
                                    100 * share, format_duration(seconds / done - seconds)));
      };
      if (job.arguments.explain) {
        // Gradients are taken here, of one picture at a time.
        const std::string page =
            with_memory_for(source.called, "; look at a smaller one: --size 512",
                            [&] { return job.explanation(source.name, picture.views.front()); });
        write_file_atomic(results.path("explain", source.name).string(), page);
        network += busy.seconds();
        return;
      }
      label = with_memory_for(source.called, network_remedy(job.protocol), [&] {
        const auto& image = picture.sample.image;
        return predict_labels(forward, job.protocol, picture.views, image.height, image.width,
                              show);
      });
      network += busy.seconds();
    });
    if (done && !job.arguments.explain)
      files.begin([&job, &results, &failures, &source, sample = std::move(picture.sample),
                   label = std::move(label)] {
        try {
          with_memory_for(source.called, network_remedy(job.protocol),
                          [&] { job.write(results, source.name, sample, label); });
        } catch (const OutOfMemory& e) {
          failures.add(e.what(), true);
        }
      });
    if (i + 1 == n) files.finish();
    const std::int64_t seen = std::min(all, (i + 1) * size);  // the others are as far
    progress.update(fmt::format("{} of {} images  {:.1f} images/s", seen, all,
                                static_cast<double>(seen) / clock.seconds()),
                    i + 1 == n);
  }
  progress.finish();
  failures.add_all(everyone);
  fmt::print("{} images in {}: {:.1f} images/s, the network {:.0f} % of the time\n",
             all - failures.count(), printable(job.arguments.output),
             static_cast<double>(all) / clock.seconds(), 100 * network / clock.seconds());
  failures.report(all);
}

void run_predict(Command app, const PredictArguments& a) {
  const bool data_set = app.given("--data");
  if (a.submission && !data_set)
    fail_input("--submission wants --data: whose judges' format it is");
  if (data_set == !a.inputs.empty())
    fail_input("predict: give images (files, a folder or a glob) or --data, one of the two");
  take_place(a.placement);
  LoadedModel loaded = load_weights(a.weights, a.variant, a.placement);
  std::unique_ptr<Dataset> dataset;
  if (data_set) {
    dataset = make_dataset(a.data, a.split);
    if (!a.any_classes || a.submission)
      match_classes(loaded.info, a.weights, *dataset, a.data.kind, a.any_classes);
  }
  std::vector<Source> sources = data_set
                                    ? sources_of(*dataset, a.submission ? dataset->size() : a.count)
                                    : sources_of(a.inputs, a.output);
  Job job{a,
          loaded,
          dataset.get(),
          std::move(sources),
          protocol_of(app, a.protocol, loaded.info.normalize),
          a.explain ? explain_options(a, loaded) : ExplainOptions{}};
  std::string named;
  for (const Source& s : job.sources) named += s.called + '\n';
  require_same(fmt::format("{}{}{} pictures\n{}", program_line(), weights_line(*loaded.model),
                           job.sources.size(), named),
               world());
  std::vector<std::string> kinds = a.kinds();
  if (a.explain && (job.protocol.views() > 1 || job.protocol.window.height > 0))
    fail_input(
        "--explain looks at the whole picture at once; leave windows, scales and --flip out");
  if (a.submission) {
    const std::string& note = dataset->submission().note;
    if (!note.empty()) fmt::print("{}\n", note);
  } else {
    job.protocol.one_step = true;  // no pixel that one would see differs
    // From a data set there is more to look at: the image and the truth.
    if (data_set && !a.explain) kinds.push_back("image");
    if (data_set && !a.explain && dataset->has_labels()) kinds.push_back("truth");
  }
  Results results(a.output, kinds,
                  a.submission ? dataset->submission().suffix
                  : a.explain  ? ".html"
                               : ".png");
  const std::size_t all = job.sources.size();
  using Existing = Results::Existing;
  results.check(a.overwrite       ? Existing::replaced
                : a.skip_existing ? Existing::skipped
                                  : Existing::refused,
                job.sources);
  require_same(fmt::format("{} pictures without results in --output\n", job.sources.size()),
               world());
  if (const std::size_t there = all - job.sources.size(); there > 0)
    fmt::print("{} of {} images have their results in {} already\n", there, all,
               printable(a.output));
  if (job.sources.empty()) return;
  results.make_folders(job.sources);
  predict_all(job, results);
}

}  // namespace

void predict_command(Command root) {
  const Command app = root.subcommand("predict", "Segment images", help::predict);
  auto a = std::make_shared<PredictArguments>();
  app.option("images", a->inputs, "files, folders or globs in quotes");
  add_weights(app, a->weights, a->variant);
  app.option("--output", a->output, "folder of the results").shows_default();
  app.flag("--overlay", a->overlay, "image under its classes' colours (the default)");
  app.flag("--colour,--color", a->colour, "the classes' colours alone");
  app.flag("--index", a->index, "grey PNG whose values are the classes");
  app.flag("--submission", a->submission,
           "all images of the data set's split, as its evaluation server wants them");
  const Option explain =
      app.flag("--explain", a->explain,
               "a page for each image of where the model looks: attention, bases, Grad-CAM, and "
               "what one pixel sees");
  explain.excludes(app.named("--overlay")).excludes(app.named("--colour"));
  explain.excludes(app.named("--index")).excludes(app.named("--submission"));
  app.option("--explain-class", a->explain_classes,
             "with --explain: classes for Grad-CAM; the four most frequent if none is named");
  app.option("--explain-stage", a->explain_stage, "with --explain: whose features Grad-CAM weighs")
      .range(1, 4)
      .shows_default();
  app.option("--pixel", a->pixel,
             "with --explain: which pixel, as shares of width and height: 0.5,0.5 is the middle")
      .range(0.0, 1.0);
  app.number("--alpha", a->alpha, 0.0, 1.0, "share of the colour in an overlay");
  add_protocol(app, a->protocol);
  add_data(app, a->data, a->split);
  app.number("--count", a->count, 1, 1000000, "how many images of the data set");
  const Option replace = app.flag("--overwrite", a->overwrite, "replace results that exist");
  app.flag("--skip-existing", a->skip_existing, "predict only what has no results yet")
      .excludes(replace);
  app.flag("--any-classes", a->any_classes,
           "with --data: even if the weights name other classes, or in another order");
  add_placement(app, a->placement);
  app.does([a, app] {
    if (app.given("--data")) use_preset_data(app, a->protocol.preset, a->data);
    run_predict(app, *a);
  });
}

}  // namespace nextgrad
