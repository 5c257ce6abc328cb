#include "apps/commands/predict_files.h"

#include <glob.h>

#include <algorithm>
#include <map>
#include <set>

#include "apps/training/run_folder.h"
#include "tensor/error.h"

namespace nextgrad {

namespace fs = std::filesystem;

namespace {

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

}  // namespace

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

std::vector<Source> sources_of(const Dataset& dataset, std::int64_t count) {
  std::vector<Source> sources;
  for (std::int64_t i = 0; i < std::min(count, dataset.size()); ++i)
    sources.push_back({dataset.name(i), "", i});
  return sources;
}

std::string called(const Source& s, const Dataset* dataset) {
  if (!s.path.empty()) return s.path;
  const std::string path = dataset->image_path(s.index);
  return path.empty() ? s.name : path;
}

Results::~Results() {
  std::error_code not_empty;
  for (auto path = made_.rbegin(); path != made_.rend(); ++path) fs::remove(*path, not_empty);
}

fs::path Results::path(const std::string& kind, const std::string& name) const {
  return (kinds_.size() > 1 ? folder_ / kind : folder_) / (name + suffix_);
}

void Results::check(Existing existing, const Dataset* dataset, std::vector<Source>& sources) const {
  check_collisions(dataset, sources);
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

void Results::make_folders(const std::vector<Source>& sources) {
  std::set<fs::path> folders;
  for (const auto& kind : kinds_)
    for (const auto& s : sources) folders.insert(path(kind, s.name).parent_path());
  for (const auto& folder : folders) {
    std::error_code error;
    std::vector<fs::path> missing;  // innermost first
    for (fs::path p = folder; !p.empty() && !fs::exists(p, error); p = p.parent_path())
      missing.push_back(p);
    made_.insert(made_.end(), missing.rbegin(), missing.rend());
    make_folder(folder, "--output");
  }
}

void Results::check_collisions(const Dataset* dataset, const std::vector<Source>& sources) const {
  std::map<fs::path, const Source*> seen;
  for (const auto& s : sources) {
    const fs::path name = fs::path(s.name + suffix_).lexically_normal();
    if (name.is_absolute() || *name.begin() == "..")
      fail_input("{}: its result would lie outside --output; give its folder", called(s, dataset));
    if (name.filename().string().size() > 255)
      fail_input("{}: its result would have a name of {} bytes, 255 are the most; rename it",
                 called(s, dataset), name.filename().string().size());
    if (const auto [at, fresh] = seen.emplace(name, &s); !fresh)
      fail_input("{}: would be written over the result of {}; predict them into two folders",
                 called(s, dataset), called(*at->second, dataset));
  }
  for (const auto& [name, source] : seen)
    for (fs::path p = name.parent_path(); !p.empty(); p = p.parent_path())
      if (const auto at = seen.find(p); at != seen.end())
        fail_input(
            "{}: its result would be the folder of that of {}; predict them into two "
            "folders",
            called(*at->second, dataset), called(*source, dataset));
}

}  // namespace nextgrad
