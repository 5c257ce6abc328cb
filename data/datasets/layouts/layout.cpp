#include "data/datasets/layouts/layout.h"

#include <algorithm>

#include "data/files/file.h"
#include "tensor/error.h"

namespace nextgrad::layouts {
namespace {

namespace fs = std::filesystem;

// "a, b, c and 5 others": what a user sees in a folder.
std::string contents(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.front() != '.') names.push_back(entry.is_directory(error) ? name + "/" : name);
  }
  if (names.empty()) return "nothing";
  std::sort(names.begin(), names.end());
  constexpr std::size_t kShown = 4;
  const std::size_t others = names.size() > kShown ? names.size() - kShown : 0;
  names.resize(names.size() - others);
  return fmt::format("{}{}", fmt::join(names, ", "),
                     others > 0 ? fmt::format(" and {} others", others) : "");
}

bool is_place(const Place& place, const fs::path& folder) {
  return std::any_of(place.markers.begin(), place.markers.end(),
                     [&](const std::string& marker) { return has_folder(folder, marker); });
}

template <class Exists>
std::string need(const fs::path& base, const std::vector<std::string>& candidates,
                 const std::string& remedy, const char* kind, const Exists& exists) {
  for (const std::string& candidate : candidates)
    if (exists(base / candidate)) return (base / candidate).string();
  const std::vector<std::string> others(candidates.begin() + 1, candidates.end());
  const fs::path first = base / candidates.front();
  const fs::path parent = first.parent_path();
  std::error_code ignored;
  const std::string found = fs::is_directory(parent, ignored)
                                ? fmt::format(" ({} has {})", parent.string(), contents(parent))
                                : "";
  fail_input("{}: no such {}{}{}; {}", first.string(), kind,
             others.empty() ? "" : fmt::format(", nor {}", fmt::join(others, ", ")), found, remedy);
}

}  // namespace

bool has_folder(const fs::path& base, const std::string& folder) {
  std::error_code ignored;
  return fs::is_directory(base / folder, ignored);
}

fs::path find_root(const Place& place, const std::string& root) {
  if (root.empty())
    fail_input("data root: give the folder of {} (--data-root DIR); {}", place.title, place.remedy);
  std::error_code error;
  if (!fs::is_directory(root, error))
    fail_input("{}: {}; give the folder of {}", root,
               fs::exists(root, error) ? "is no folder" : "no such folder", place.title);
  if (is_place(place, root)) return root;
  for (const std::string& name : place.names)
    if (is_place(place, fs::path(root) / name)) return fs::path(root) / name;
  // Given a folder inside the data set: up to three levels.
  fs::path up = fs::absolute(root, error).lexically_normal();
  if (!up.has_filename()) up = up.parent_path();
  for (int level = 0; level < 3 && up.has_relative_path(); ++level) {
    up = up.parent_path();
    if (is_place(place, up)) return up;
  }
  fail_input("{}: is not {}: it has {}, but no {}{}; {}", root, place.title, contents(root),
             fmt::join(place.markers, " or "),
             place.names.empty() ? "" : fmt::format(" (nor has {})", fmt::join(place.names, ", ")),
             place.remedy);
}

std::string need_folder(const fs::path& base, const std::vector<std::string>& folders,
                        const std::string& remedy) {
  return need(base, folders, remedy, "folder", [](const fs::path& path) {
    std::error_code ignored;
    return fs::is_directory(path, ignored);
  });
}

std::string need_file(const fs::path& base, const std::vector<std::string>& files,
                      const std::string& remedy) {
  return need(base, files, remedy, "file", [](const fs::path& path) {
    std::error_code ignored;
    return fs::is_regular_file(path, ignored);
  });
}

void check_split(const char* title, const std::string& split,
                 const std::vector<std::string>& splits) {
  if (std::find(splits.begin(), splits.end(), split) == splits.end())
    fail_input("{} has no split '{}'; choose {}", title, split, fmt::join(splits, ", "));
}

bool has_file_with(const std::string& folder, bool nested, const std::string& suffix) {
  const auto visible = [&](const std::string& path) {
    return fs::path(path).filename().string().front() != '.';
  };
  const auto here = list_files(folder, {suffix});
  if (std::any_of(here.begin(), here.end(), visible)) return true;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (!nested || !entry.is_directory(error)) continue;
    const auto files = list_files(entry.path().string(), {suffix});
    if (std::any_of(files.begin(), files.end(), visible)) return true;
  }
  return false;
}

std::vector<std::string> split_names(std::string_view names) {
  std::vector<std::string> parts;
  while (!names.empty()) {
    const std::size_t end = std::min(names.find(','), names.size());
    std::string_view part = names.substr(0, end);
    part.remove_prefix(std::min(part.find_first_not_of(' '), part.size()));
    parts.emplace_back(part);
    names.remove_prefix(std::min(end + 1, names.size()));
  }
  return parts;
}

}  // namespace nextgrad::layouts
