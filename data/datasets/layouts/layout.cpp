#include "data/datasets/layouts/layout.h"

#include <algorithm>
#include <charconv>

#include "tensor/error.h"

namespace nextgrad::layouts {
namespace {

namespace fs = std::filesystem;

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

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

[[noreturn]] void fail_missing(const Place& at, const std::vector<std::string>& candidates,
                               const char* kind) {
  const std::vector<std::string> others(candidates.begin() + 1, candidates.end());
  const fs::path first = at.base / candidates.front(), parent = first.parent_path();
  fail_input(
      "{}: no such {}{}{}; {}", first.string(), kind,
      others.empty() ? "" : fmt::format(", nor {}", fmt::join(others, ", ")),
      is_folder(parent) ? fmt::format(" ({} has {})", parent.string(), contents(parent)) : "",
      at.remedy);
}

fs::path find_root(const Layout& layout, const std::string& root) {
  if (root.empty())
    fail_input("data root: give the folder of {} (--data-root DIR); {}", layout.title,
               layout.remedy);
  std::error_code error;
  if (!is_folder(root))
    fail_input("{}: {}; give the folder of {}", root,
               fs::exists(root, error) ? "is no folder" : "no such folder", layout.title);
  const auto is_it = [&](const fs::path& folder) {
    return std::any_of(layout.markers.begin(), layout.markers.end(),
                       [&](const std::string& marker) { return is_folder(folder / marker); });
  };
  if (is_it(root)) return root;
  for (const std::string& name : layout.names)
    if (is_it(fs::path(root) / name)) return fs::path(root) / name;
  // Given a folder inside the data set: up to three levels.
  fs::path up = fs::absolute(root, error).lexically_normal();
  if (!up.has_filename()) up = up.parent_path();
  for (int level = 0; level < 3 && up.has_relative_path(); ++level) {
    up = up.parent_path();
    if (is_it(up)) return up;
  }
  fail_input("{}: is not {}: it has {}, but no {} (nor has {}); {}", root, layout.title,
             contents(root), fmt::join(layout.markers, " or "), fmt::join(layout.names, ", "),
             layout.remedy);
}

}  // namespace

std::string Place::folder(const std::vector<std::string>& candidates) const {
  for (const std::string& candidate : candidates)
    if (has_folder(candidate)) return (base / candidate).string();
  fail_missing(*this, candidates, "folder");
}

std::string Place::file(const std::vector<std::string>& candidates) const {
  std::error_code ignored;
  for (const std::string& candidate : candidates)
    if (fs::is_regular_file(base / candidate, ignored)) return (base / candidate).string();
  fail_missing(*this, candidates, "file");
}

bool Place::has_folder(const std::string& folder) const {
  return is_folder(base / folder);
}

FolderSpec Layout::open(const std::string& root, const std::string& split) const {
  if (!other_splits && std::find(splits.begin(), splits.end(), split) == splits.end())
    fail_input("{} has no split '{}'; choose {}", title, split, fmt::join(splits, ", "));
  return read({find_root(*this, root), remedy}, split);
}

FolderSpec with_classes(const std::string& table) {
  FolderSpec spec;
  for (std::size_t at = 0, end = 0; at < table.size(); at = end + 1) {
    end = std::min(table.find_first_of(",\n", at), table.size());
    Color& color = spec.palette.emplace_back();
    for (std::size_t c = 0; c < 3; ++c)
      std::from_chars(&table[at + 2 * c], &table[at + 2 * c + 2], color[c], 16);
    spec.classes.push_back(table.substr(at + 7, end - at - 7));
  }
  return spec;
}

}  // namespace nextgrad::layouts
