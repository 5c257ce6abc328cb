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

class Lister {
 public:
  Lister(const std::vector<std::string>& suffixes, const std::vector<std::string>& except,
         bool deep)
      : suffixes_(suffixes), deep_(deep) {
    for (const std::string& folder : except)
      if (const Identity found = identity_of(folder); found != Identity{}) except_.push_back(found);
  }

  std::vector<std::string> list(const fs::path& folder) {
    enter(folder, "", identity_of(folder));
    std::sort(files_.begin(), files_.end());
    return std::move(files_);
  }

 private:
  void enter(const fs::path& folder, const std::string& prefix, const Identity& identity) {
    around_.push_back(identity);
    std::error_code error;
    fs::directory_iterator entries(folder, error);
    for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
      const std::string name = entries->path().filename().string();
      if (name.front() != '.') see(*entries, prefix + name);
    }
    if (error) fail_input("{}: cannot list the folder: {}", folder.string(), error.message());
    around_.pop_back();
  }

  void see(const fs::directory_entry& entry, const std::string& relative) {
    // The listing itself tells most files: a million of them want no look each.
    std::error_code unseen, ignored;
    const bool file = entry.is_regular_file(unseen), link = entry.is_symlink(ignored);
    if (unseen)
      fail_input("{}: {}: {}; mend or remove it", entry.path().string(),
                 link ? "is a link that leads nowhere" : "cannot be looked at", unseen.message());
    if (entry.is_directory(ignored)) {
      if (deep_) see_folder(entry.path(), relative);
    } else if (is_wanted(relative)) {
      if (!file) fail_input("{}: is neither a file nor a folder; remove it", entry.path().string());
      files_.push_back(relative);
    }
  }

  void see_folder(const fs::path& path, const std::string& relative) {
    const Identity identity = identity_of(path);
    if (std::find(except_.begin(), except_.end(), identity) != except_.end()) return;
    if (std::find(around_.begin(), around_.end(), identity) != around_.end())
      fail_input("{}: is a link to a folder around it; remove it", path.string());
    enter(path, relative + "/", identity);
  }

  bool is_wanted(const std::string& name) const {
    return suffixes_.empty() ||
           std::any_of(suffixes_.begin(), suffixes_.end(),
                       [&](const std::string& suffix) { return ends_in(name, suffix); });
  }

  const std::vector<std::string>& suffixes_;
  const bool deep_;
  std::vector<Identity> except_, around_;
  std::vector<std::string> files_;
};

}  // namespace

std::vector<std::string> list_files(const std::string& folder,
                                    const std::vector<std::string>& suffixes) {
  std::vector<std::string> paths = Lister(suffixes, {}, false).list(folder);
  for (std::string& path : paths) path = (fs::path(folder) / path).string();
  return paths;
}

std::vector<std::string> list_tree(const std::string& folder,
                                   const std::vector<std::string>& suffixes,
                                   const std::vector<std::string>& except) {
  return Lister(suffixes, except, true).list(folder);
}

}  // namespace nextgrad
