// Which image file goes with which label file.
#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "data/datasets/folder_dataset.h"
#include "data/files/file.h"
#include "data/files/text.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

namespace fs = std::filesystem;

// Tells problems of one sort: on the caller's list, or by an InputError that counts the others like
// the first.
void tell(const std::vector<std::string>& problems, const char* remedy,
          std::vector<std::string>* list) {
  if (list == nullptr && !problems.empty())
    fail_input("{}{}; {}", problems[0],
               problems.size() > 1 ? fmt::format(" (and {} others)", problems.size() - 1) : "",
               remedy);
  for (const std::string& what : problems) list->push_back(fmt::format("{}; {}", what, remedy));
}

struct File {
  std::string name;  // in the folder (nested: in its own), without the suffix
  std::string path;
};
// By their names, composed, so that a picture finds its label whoever wrote the accents.
using ByName = std::map<std::string, File>;

// `except`: files that end so are not meant (labels beside the images).
ByName by_name(const FolderPart& part, const std::string& folder,
               const std::vector<std::string>& suffixes, const std::string& except,
               std::vector<std::string>* list) {
  std::error_code error;
  if (!fs::is_directory(folder, error))
    fail_input("{}: no such folder; check the data set's root and split", folder);
  std::vector<std::string> doubles;
  ByName files;
  for (const std::string& relative : list_tree(folder, suffixes, part.apart)) {
    if (!except.empty() && relative.ends_with(except)) continue;
    const std::string file = part.nested ? fs::path(relative).filename().string() : relative;
    // Of several suffixes that fit, the file has the longest.
    const std::size_t cut =
        suffixes.size() == 1 ? suffixes[0].size() : fs::path(file).extension().string().size();
    if (cut >= file.size()) continue;
    const std::string name = file.substr(0, file.size() - cut);
    const std::string path = (fs::path(folder) / relative).string();
    const auto [other, fresh] = files.emplace(composed(name), File{name, path});
    if (!fresh)
      doubles.push_back(fmt::format("{} and {} have the same name", other->second.path, path));
  }
  tell(doubles, "remove one of them", list);
  return files;
}

// Finds the image that a line of a list means: a name or a path, of the image or of its label, with
// or without suffix; a path may begin anywhere above the folder of images or labels.
class ListReader {
 public:
  ListReader(const FolderPart& part, const ByName& images)
      : part_(part), images_(images), suffixes_(image_suffixes()) {
    if (!part.image_suffix.empty()) suffixes_.insert(suffixes_.begin(), part.image_suffix);
    suffixes_.insert(suffixes_.begin(), part.label_suffix);
    for (const std::string& folder : {part.images, part.labels})
      if (!folder.empty()) roots_.push_back(last_name(folder));
  }

  // The key in `images`; "" if there is none.
  std::string find(const ListedName& line) const {
    std::string key = find_path(line.text);
    const std::size_t cut = line.text.find_first_of(" \t,;");
    if (key.empty() && cut != std::string::npos) {  // of several columns the first
      key = find_path(line.text.substr(0, cut));
      check_label(line, key, cut);
    }
    if (key.empty() && !part_.exact_list && images_.contains(composed(line.name)))
      key = composed(line.name);
    return key;
  }

 private:
  static std::string last_name(const std::string& folder) {
    std::error_code error;
    fs::path path = fs::absolute(folder, error).lexically_normal();
    return (path.has_filename() ? path : path.parent_path()).filename().string();
  }

  std::string find_path(std::string path) const {
    if (path.find('/') == std::string::npos) std::replace(path.begin(), path.end(), '\\', '/');
    path = fs::path(path).lexically_normal().string();
    if (const std::string key = find_name(path); !key.empty()) return key;
    for (std::size_t cut = path.find('/'); cut != std::string::npos;
         cut = path.find('/', cut + 1)) {
      const std::string folder = fs::path(path.substr(0, cut)).filename().string();
      if (std::find(roots_.begin(), roots_.end(), folder) == roots_.end()) continue;
      if (const std::string key = find_name(path.substr(cut + 1)); !key.empty()) return key;
    }
    return "";
  }

  std::string find_name(const std::string& name) const {
    if (name.empty()) return "";
    if (const std::string key = composed(name); images_.contains(key)) return key;
    for (const std::string& suffix : suffixes_) {
      if (!ends_in(name, suffix)) continue;
      const std::string key = composed(name.substr(0, name.size() - suffix.size()));
      if (images_.contains(key)) return key;
    }
    return "";
  }

  // A second column may be a class or a flag; if it is a picture, it must be the label that pairs.
  void check_label(const ListedName& line, const std::string& key, std::size_t cut) const {
    const std::size_t begin = line.text.find_first_not_of(" \t,;", cut);
    if (key.empty() || !part_.exact_list || begin == std::string::npos) return;
    const std::string word = line.text.substr(begin);
    const bool picture = std::any_of(suffixes_.begin(), suffixes_.end(),
                                     [&](const auto& suffix) { return ends_in(word, suffix); });
    if (picture && find_path(word) != key)
      fail_input("{}:{}: {} is not the label of {}; images and labels pair by their names",
                 part_.list, line.line, word, key);
  }

  const FolderPart& part_;
  const ByName& images_;
  std::vector<std::string> suffixes_, roots_;
};

// The keys in `images` of the list's names, or of all; each has an image.
std::vector<std::string> wanted_names(const FolderPart& part, const ByName& images,
                                      std::vector<std::string>* list) {
  std::vector<std::string> names, missing, repeated;
  if (part.list.empty()) {
    for (const auto& [name, file] : images) names.push_back(name);
    return names;
  }
  const ListReader reader(part, images);
  std::map<std::string, int> lines;
  for (const ListedName& line : read_list(part.list)) {
    const std::string name = reader.find(line);
    if (name.empty()) {
      missing.push_back(fmt::format("{}:{}: names {}, but there is no such image in {}", part.list,
                                    line.line, line.text, part.images));
      continue;
    }
    const auto [first, fresh] = lines.emplace(name, line.line);
    if (fresh)
      names.push_back(name);
    else
      repeated.push_back(fmt::format("{}:{}: names {}, as line {} does", part.list, line.line,
                                     line.text, first->second));
  }
  tell(missing, "add it or remove the line", list);
  tell(repeated, "remove one of them", list);
  return names;
}

// Adds the pairs of a part whose names are not `taken` yet.
void add_pairs(const FolderPart& part, std::vector<std::string>* list, std::vector<FilePair>& pairs,
               std::set<std::string>& taken) {
  std::error_code ignored;
  const bool together = !part.labels.empty() && fs::equivalent(part.images, part.labels, ignored);
  const ByName images = by_name(
      part, part.images,
      part.image_suffix.empty() ? image_suffixes() : std::vector<std::string>{part.image_suffix},
      together ? part.label_suffix : "", list);
  if (images.empty())
    fail_input("{}: no image{} in this folder; check the folder and the suffix", part.images,
               part.image_suffix.empty() ? "" : " *" + part.image_suffix);
  ByName labels;
  if (!part.labels.empty()) labels = by_name(part, part.labels, {part.label_suffix}, "", list);
  std::vector<std::string> unpaired, lonely;
  for (const std::string& name : wanted_names(part, images, list)) {
    if (!taken.insert(name).second) continue;
    const File& image = images.at(name);
    const auto label = labels.find(name);
    if (part.labels.empty() || label != labels.end())
      pairs.push_back({image.name, image.path, part.labels.empty() ? "" : label->second.path});
    else
      unpaired.push_back(fmt::format("{}: has no label {}{} in {}", image.path, image.name,
                                     part.label_suffix, part.labels));
  }
  tell(unpaired, "add it or remove the image", list);
  for (const auto& [name, file] : labels)
    if (part.list.empty() && !images.contains(name))
      lonely.push_back(fmt::format("{}: has no image in {}", file.path, part.images));
  tell(lonely, "add it or remove the label", list);
}

}  // namespace

std::vector<ListedName> read_list(const std::string& path) {
  const std::vector<std::uint8_t> bytes = read_file(path, 1u << 28);
  std::istringstream text(std::string(bytes.begin(), bytes.end()));
  constexpr const char* kBlanks = " \t\r\v\f";
  std::vector<ListedName> names;
  int number = 0;
  for (std::string line; std::getline(text, line);) {
    if (++number == 1 && line.starts_with("\xef\xbb\xbf")) line.erase(0, 3);  // byte order mark
    line.erase(0, line.find_first_not_of(kBlanks));
    line.resize(line.find_last_not_of(kBlanks) + 1);
    if (line.find('\0') != std::string::npos || line.size() > 4096)
      fail_input("{}:{}: is no file name; give a text file with one name a line", path, number);
    if (line.empty()) continue;
    const fs::path file(line.substr(0, line.find_first_of(kBlanks)));
    const auto& suffixes = image_suffixes();
    const bool suffixed =
        file.has_parent_path() ||
        std::find(suffixes.begin(), suffixes.end(), file.extension().string()) != suffixes.end();
    names.push_back({(suffixed ? file.stem() : file).string(), number, line});
  }
  if (names.empty()) fail_input("{}: names no image; give a text file with one name a line", path);
  return names;
}

std::vector<FilePair> pair_files(const std::vector<FolderPart>& parts,
                                 std::vector<std::string>* problems) {
  std::vector<FilePair> pairs;
  std::set<std::string> taken;
  for (const FolderPart& part : parts) add_pairs(part, problems, pairs, taken);
  // With a list of problems every pair may be missing: that is for its reader to see.
  if (pairs.empty() && problems == nullptr)
    fail_input("{}: no image of this split", parts.front().images);
  return pairs;
}

}  // namespace nextgrad
