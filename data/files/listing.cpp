// Which files are in a folder, without leaving one out in silence.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "data/files/file.h"
#include "data/files/text.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

namespace fs = std::filesystem;

// A folder, whatever path leads to it.
using Identity = std::pair<dev_t, ino_t>;
Identity identity_of(const struct stat& info) {
  return {info.st_dev, info.st_ino};
}

class Lister {
 public:
  Lister(const std::vector<std::string>& suffixes, bool deep) : suffixes_(suffixes), deep_(deep) {}

  void pass_over(const std::string& folder) {
    struct stat info {};
    if (::stat(folder.c_str(), &info) == 0) excepted_.push_back(identity_of(info));
  }

  void list(const std::string& folder) {
    struct stat info {};
    if (::stat(folder.c_str(), &info) != 0)
      fail_input("{}: cannot list the folder: {}", folder, std::strerror(errno));
    enter(folder, "", identity_of(info));
    std::sort(files_.begin(), files_.end());
  }
  std::vector<std::string> take() { return std::move(files_); }

 private:
  void enter(const fs::path& folder, const std::string& prefix, const Identity& identity) {
    around_.push_back(identity);
    std::error_code error;
    fs::directory_iterator entries(folder, error);
    for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
      const std::string name = entries->path().filename().string();
      if (name.front() == '.') continue;
      // The listing itself tells most files: a million of them want no look each.
      std::error_code ignored;
      if (!entries->is_symlink(ignored) && entries->is_regular_file(ignored))
        add(prefix + name);
      else
        see(entries->path(), prefix + name);
    }
    if (error) fail_input("{}: cannot list the folder: {}", folder.string(), error.message());
    around_.pop_back();
  }

  void see(const fs::path& path, const std::string& relative) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0)
      fail_input("{}: {}: {}; mend or remove it", path.string(),
                 fs::is_symlink(fs::symlink_status(path)) ? "is a link that leads nowhere"
                                                          : "cannot be looked at",
                 std::strerror(errno));
    if (S_ISDIR(info.st_mode)) {
      if (deep_) see_folder(path, relative, identity_of(info));
    } else {
      if (!S_ISREG(info.st_mode) && is_wanted(relative))
        fail_input("{}: is neither a file nor a folder; remove it", path.string());
      add(relative);
    }
  }

  bool is_wanted(const std::string& name) const {
    return suffixes_.empty() ||
           std::any_of(suffixes_.begin(), suffixes_.end(),
                       [&](const std::string& suffix) { return ends_in(name, suffix); });
  }

  void add(const std::string& relative) {
    if (is_wanted(relative)) files_.push_back(relative);
  }

  void see_folder(const fs::path& path, const std::string& relative, const Identity& identity) {
    if (std::find(excepted_.begin(), excepted_.end(), identity) != excepted_.end()) return;
    if (std::find(around_.begin(), around_.end(), identity) != around_.end())
      fail_input("{}: is a link to a folder around it; remove it", path.string());
    enter(path, relative + "/", identity);
  }

  const std::vector<std::string>& suffixes_;
  const bool deep_;
  std::vector<Identity> excepted_, around_;
  std::vector<std::string> files_;
};

}  // namespace

std::vector<std::string> list_files(const std::string& folder,
                                    const std::vector<std::string>& suffixes) {
  Lister lister(suffixes, false);
  lister.list(folder);
  std::vector<std::string> paths = lister.take();
  for (std::string& path : paths) path = (fs::path(folder) / path).string();
  return paths;
}

std::vector<std::string> list_tree(const std::string& folder,
                                   const std::vector<std::string>& suffixes,
                                   const std::vector<std::string>& except) {
  Lister lister(suffixes, true);
  for (const std::string& other : except) lister.pass_over(other);
  lister.list(folder);
  return lister.take();
}

}  // namespace nextgrad
