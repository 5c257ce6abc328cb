// segnext prepare: makes of a data set's archives what training reads.
#include <filesystem>
#include <memory>
#include <mutex>

#include "apps/commands.h"
#include "apps/pipeline.h"
#include "apps/progress.h"
#include "apps/signals.h"
#include "data/file.h"
#include "data/isaid_patches.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

namespace fs = std::filesystem;

struct PrepareArguments {
  std::string in, out;
  std::int64_t patch = 896, overlap = 384;
};

struct Task {
  IsaidPicture picture;
  std::string split;
  double bytes;  // of the image file: what the time left goes by
};

std::vector<Task> find_tasks(const PrepareArguments& a, std::vector<std::string>& problems) {
  if (!fs::is_directory(a.in)) fail_input("{}: no such folder; give iSAID's", a.in);
  std::vector<Task> tasks;
  bool any = false;
  for (const char* split : {"train", "val", "test"}) {
    any = any || fs::is_directory(fs::path(a.in) / split);
    for (IsaidPicture& picture : find_isaid_pictures(a.in, split, problems)) {
      const auto bytes = static_cast<double>(fs::file_size(picture.image));
      tasks.push_back({std::move(picture), split, bytes});
    }
  }
  if (!any)
    fail_input(
        "{}: has neither train nor val nor test; unpack iSAID's images and semantic masks "
        "in DIR/train, DIR/val (and the images in DIR/test)",
        a.in);
  return tasks;
}

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (!fs::is_directory(path))
    fail_input("{}: cannot be made a folder: {}; choose another --out", path.string(),
               error ? error.message() : "something else has this name");
}

// Patches of two sizes in one folder would be a mixture that nobody wants to train on.
void check_same_cut(const PrepareArguments& a) {
  const fs::path note = fs::path(a.out) / "patches.txt";
  const std::string text = fmt::format("patch {} overlap {}\n", a.patch, a.overlap);
  if (!fs::exists(note)) return write_file_atomic(note.string(), std::string_view(text));
  const auto bytes = read_file(note.string(), 1 << 16);
  const std::string before(bytes.begin(), bytes.end());
  if (before != text)
    fail_input("{}: was cut with {}; choose another --out or the same numbers", a.out,
               before.substr(0, before.find('\n')));
}

// The pictures cut so far, counted by several threads.
class Cutting {
 public:
  Cutting(const PrepareArguments& a, std::vector<std::string> problems)
      : arguments_(a), problems_(std::move(problems)) {}

  void cut(const Task& task) {
    PatchOptions options{arguments_.patch, arguments_.overlap,
                         (fs::path(arguments_.out) / "img_dir" / task.split).string(),
                         (fs::path(arguments_.out) / "ann_dir" / task.split).string(),
                         [] { return stop_requested(); }};
    PatchCount count;
    std::string problem;
    try {
      count = cut_isaid_picture(task.picture, options);
    } catch (const InputError& e) {
      problem = e.what();
    }
    if (count.unknown > 0)
      problem = fmt::format("{}: {} pixels have no class's colour; they are ignored",
                            task.picture.label, count.unknown);
    const std::lock_guard lock(mutex_);
    total_.written += count.written;
    total_.kept += count.kept;
    left_out_ += !problem.empty() && count.unknown == 0;
    if (!problem.empty()) problems_.push_back(std::move(problem));
    if (count.stopped) return;
    ++done_;
    bytes_ += task.bytes;
  }
  // The line of progress; problems that are new stay above it.
  void show(ProgressLine& line, std::size_t tasks, double bytes, double seconds) {
    const std::lock_guard lock(mutex_);
    for (; shown_ < problems_.size(); ++shown_) line.message(problems_[shown_]);
    const double rate = static_cast<double>(total_.written) / seconds;
    const double left = bytes_ > 0 ? seconds * (bytes - bytes_) / bytes_ : 0;
    line.update(fmt::format("{} of {} pictures  {} patches, {:.1f}/s  {} left", done_, tasks,
                            total_.written + total_.kept, rate, format_duration(left)),
                done_ == tasks);
  }
  std::size_t done() const { return done_; }
  std::size_t left_out() const { return left_out_; }
  const PatchCount& total() const { return total_; }

 private:
  const PrepareArguments& arguments_;
  std::mutex mutex_;
  PatchCount total_;
  std::size_t done_ = 0, left_out_ = 0, shown_ = 0;
  double bytes_ = 0;
  std::vector<std::string> problems_;
};

void run_isaid(const PrepareArguments& a) {
  if (a.overlap >= a.patch)
    fail_input("--overlap: {} is not below the patch's {} pixels", a.overlap, a.patch);
  std::vector<std::string> problems;
  const std::vector<Task> tasks = find_tasks(a, problems);
  const std::size_t unpaired = problems.size();
  for (const Task& task : tasks) {
    make_folder(fs::path(a.out) / "img_dir" / task.split);
    if (task.split != "test") make_folder(fs::path(a.out) / "ann_dir" / task.split);
  }
  if (!tasks.empty()) check_same_cut(a);
  install_signal_handlers();
  double bytes = 0;
  for (const Task& task : tasks) bytes += task.bytes;
  const Stopwatch clock;
  Cutting cutting(a, std::move(problems));
  {
    ProgressLine line(stderr);
    Behind under_way;
    for (const Task& task : tasks) {
      if (stop_requested()) break;
      under_way.begin([&cutting, &task] { cutting.cut(task); });
      cutting.show(line, tasks.size(), bytes, clock.seconds());
    }
    under_way.finish();
    cutting.show(line, tasks.size(), bytes, clock.seconds());
  }
  fmt::print("{}: {} patches written, {} were there, in {}; at most {} of memory\n", a.out,
             cutting.total().written, cutting.total().kept, format_duration(clock.seconds()),
             format_bytes(static_cast<double>(peak_resident_bytes())));
  if (cutting.done() < tasks.size())
    fmt::print("Stopped after {} of {} pictures; the same command continues\n", cutting.done(),
               tasks.size());
  if (const std::size_t n = unpaired + cutting.left_out(); n > 0)
    fail_input("{}: {} files were left out, each named above; the others are done", a.in, n);
}

}  // namespace

Command prepare_command(CLI::App& root) {
  CLI::App* app = root.add_subcommand("prepare", "Make patches of a data set's large pictures");
  app->require_subcommand(1);
  CLI::App* isaid = app->add_subcommand("isaid", "Cut iSAID's pictures and painted labels");
  auto a = std::make_shared<PrepareArguments>();
  isaid->add_option("--in", a->in, "folder with train, val and test")->required();
  isaid->add_option("--out", a->out, "folder of the patches: img_dir and ann_dir")->required();
  isaid->add_option("--patch", a->patch, "side of a patch in pixels")
      ->check(CLI::Range(32, 8192))
      ->capture_default_str();
  isaid->add_option("--overlap", a->overlap, "pixels that neighbours share")
      ->check(CLI::Range(0, 8191))
      ->capture_default_str();
  isaid->footer(
      "Reads DIR/SPLIT/**/NAME.png and NAME_instance_color_RGB.png (the semantic masks), as the\n"
      "archives unpack. Names and padding are those of MMSegmentation; test images are cut too.\n"
      "Rows are read one by one, so pictures of any size fit. Patches that are there are kept:\n"
      "after Ctrl-C the same command continues.\nExample:\n"
      "  segnext prepare isaid --in iSAID --out iSAID_Patches\n"
      "  segnext train --data isaid --data-root iSAID_Patches --crop 896 --out run");
  app->footer("Example:\n  segnext prepare isaid --in iSAID --out iSAID_Patches");
  return {app, [a] { run_isaid(*a); }};
}

}  // namespace nextgrad
