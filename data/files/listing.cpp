// Which files are in a folder, without leaving one out in silence.
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "data/files/file.h"
#include "data/files/text.h"

namespace nextgrad {
namespace {

namespace fs = std::filesystem;

// A folder, whatever path leads to it.
using Identity = std::pair<dev_t, ino_t>;
Identity identity_of(const fs::path& folder) {
  struct stat info {};
  if (::stat(folder.c_str(), &info) != 0) return {};
  return {info.st_dev, info.st_ino};
}

// What was found, and on the way there.
struct Listing {
  const std::vector<std::string>& suffixes;
  const bool deep;
  std::vector<Identity> except = {}, around = {};
  std::vector<std::string> files = {};
};

bool is_among(const std::vector<Identity>& folders, const Identity& folder) {
  return std::find(folders.begin(), folders.end(), folder) != folders.end();
}

void list(Listing& l, const fs::path& folder, const std::string& prefix, const Identity& identity) {
  l.around.push_back(identity);
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    const fs::path path = entries->path();
    const std::string name = prefix + path.filename().string();
    if (path.filename().string().front() == '.') continue;
    // The listing itself tells most files: a million of them want no look each.
    std::error_code unseen, ignored;
    const bool file = entries->is_regular_file(unseen), link = entries->is_symlink(ignored);
    if (unseen)
      fail_input("{}: {}: {}; mend or remove it", path.string(),
                 link ? "is a link that leads nowhere" : "cannot be looked at", unseen.message());
    if (!file && entries->is_directory(ignored)) {
      const Identity inner = identity_of(path);
      if (!l.deep || is_among(l.except, inner)) continue;
      if (is_among(l.around, inner))
        fail_input("{}: is a link to a folder around it; remove it", path.string());
      list(l, path, name + "/", inner);
    } else if (l.suffixes.empty() || std::any_of(l.suffixes.begin(), l.suffixes.end(),
                                                 [&](auto& s) { return ends_in(name, s); })) {
      if (!file) fail_input("{}: is neither a file nor a folder; remove it", path.string());
      l.files.push_back(name);
    }
  }
  if (error) fail_input("{}: cannot list the folder: {}", folder.string(), error.message());
  l.around.pop_back();
}

std::vector<std::string> sorted_files(Listing l, const std::string& folder) {
  list(l, folder, "", identity_of(folder));
  std::sort(l.files.begin(), l.files.end());
  return std::move(l.files);
}

}  // namespace

std::vector<std::string> list_files(const std::string& folder,
                                    const std::vector<std::string>& suffixes) {
  std::vector<std::string> paths = sorted_files({suffixes, false}, folder);
  for (std::string& path : paths) path = (fs::path(folder) / path).string();
  return paths;
}

std::vector<std::string> list_tree(const std::string& folder,
                                   const std::vector<std::string>& suffixes,
                                   const std::vector<std::string>& except) {
  Listing l{suffixes, true};
  for (const std::string& other : except)
    if (const Identity found = identity_of(other); found != Identity{}) l.except.push_back(found);
  return sorted_files(std::move(l), folder);
}

}  // namespace nextgrad
