// segnext prepare: makes of a data set's archives what training reads.
#include <filesystem>
#include <memory>
#include <mutex>

#include "apps/commands/commands.h"
#include "apps/help.h"
#include "apps/inference/pipeline.h"
#include "apps/report/progress.h"
#include "apps/training/run_folder.h"
#include "apps/training/signals.h"
#include "data/datasets/isaid_patches.h"
#include "data/files/file.h"
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
      const double bytes = 1 + static_cast<double>(fs::file_size(picture.image));
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

// The pictures cut so far, counted and shown by the threads that cut them.
class Cutting {
 public:
  // `problems`: files that lack their partner.
  Cutting(const PrepareArguments& a, const std::vector<Task>& tasks,
          const std::vector<std::string>& problems)
      : arguments_(a), tasks_(tasks), left_out_(problems.size()) {
    for (const Task& task : tasks) bytes_ += task.bytes;
    for (const std::string& problem : problems) line_.message(problem);
  }

  void cut(const Task& task) {
    double before = 0;  // of this picture, in bytes
    PatchOptions options{arguments_.patch, arguments_.overlap,
                         (fs::path(arguments_.out) / "img_dir" / task.split).string(),
                         (fs::path(arguments_.out) / "ann_dir" / task.split).string(),
                         [&](double share) {
                           const std::lock_guard lock(mutex_);
                           bytes_done_ += share * task.bytes - before;
                           before = share * task.bytes;
                           show();
                           return stop_requested();
                         }};
    PatchCount count;
    std::string problem;
    try {
      count = cut_isaid_picture(task.picture, options);
    } catch (const InputError& e) {
      problem = e.what();
    }
    const std::lock_guard lock(mutex_);
    left_out_ += !problem.empty();
    if (count.unknown > 0)
      problem = fmt::format("{}: {} pixels have no class's colour; they are ignored",
                            task.picture.label, count.unknown);
    if (!problem.empty()) line_.message(problem);
    total_.written += count.written;
    total_.kept += count.kept;
    if (count.stopped) return;
    ++done_;
    bytes_done_ += task.bytes - before;
    show();
  }
  // What was done; throws InputError where something was left out.
  void finish() {
    line_.finish();
    fmt::print("{}: {} patches written, {} were there, in {}; at most {} of memory\n",
               arguments_.out, total_.written, total_.kept, format_duration(clock_.seconds()),
               format_bytes(static_cast<double>(peak_resident_bytes())));
    if (done_ < tasks_.size())
      fmt::print("Stopped after {} of {} pictures; the same command continues\n", done_,
                 tasks_.size());
    std::fflush(stdout);
    if (left_out_ > 0)
      fail_input("{}: {} files were left out, each named above; the others are done", arguments_.in,
                 left_out_);
  }

 private:
  void show() {
    const double share = bytes_done_ / bytes_, seconds = clock_.seconds();
    line_.update(fmt::format("{} of {} pictures  {:.1f} %  {:.1f} MB/s  {} left", done_,
                             tasks_.size(), 100 * share, bytes_done_ / 1e6 / seconds,
                             share > 0 ? format_duration(seconds * (1 - share) / share) : "?"),
                 done_ == tasks_.size());
  }
  const PrepareArguments& arguments_;
  const std::vector<Task>& tasks_;
  std::mutex mutex_;
  ProgressLine line_{stderr};
  Stopwatch clock_;
  PatchCount total_;
  std::size_t done_ = 0, left_out_;
  double bytes_ = 0, bytes_done_ = 0;
};

void run_isaid(const PrepareArguments& a) {
  if (a.overlap >= a.patch)
    fail_input("--overlap: {} is not below the patch's {} pixels", a.overlap, a.patch);
  std::vector<std::string> problems;
  const std::vector<Task> tasks = find_tasks(a, problems);
  for (const Task& task : tasks) {
    make_folder(fs::path(a.out) / "img_dir" / task.split, "--out");
    if (task.split != "test") make_folder(fs::path(a.out) / "ann_dir" / task.split, "--out");
  }
  if (!tasks.empty()) check_same_cut(a);
  install_signal_handlers();
  Cutting cutting(a, tasks, problems);
  {
    Behind under_way;
    for (const Task& task : tasks) {
      if (stop_requested()) break;
      under_way.begin([&cutting, &task] { cutting.cut(task); });
    }
    under_way.finish();
  }
  cutting.finish();
}

}  // namespace

void prepare_command(Command root) {
  const Command app =
      root.subcommand("prepare", "Make patches of a data set's large pictures",
                      "Example:\n  segnext prepare isaid --in iSAID --out iSAID_Patches");
  app.needs_subcommand();
  const Command isaid =
      app.subcommand("isaid", "Cut iSAID's pictures and painted labels", help::prepare);
  auto a = std::make_shared<PrepareArguments>();
  isaid.option("--in", a->in, "folder with train, val and test").required();
  isaid.option("--out", a->out, "folder of the patches: img_dir and ann_dir").required();
  isaid.number("--patch", a->patch, 32, 8192, "side of a patch in pixels");
  isaid.number("--overlap", a->overlap, 0, 8191, "pixels that neighbours share");
  app.does([a] { run_isaid(*a); });
}

}  // namespace nextgrad
