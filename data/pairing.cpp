#include "data/pairing.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "data/file.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

namespace fs = std::filesystem;

// Where problems go: to the caller's list, or out as an InputError that counts the others like it.
class Problems {
 public:
  explicit Problems(std::vector<std::string>* list) : list_(list) {}
  // `what` of the first, and what to do.
  void add(const std::string& what, const std::string& remedy) {
    if (list_ != nullptr) return list_->push_back(what + "; " + remedy);
    if (count_++ == 0) first_ = what, remedy_ = remedy;
  }
  // After all of one sort.
  void finish_sort() const {
    if (count_ == 0) return;
    const std::string others = count_ > 1 ? fmt::format(" (and {} others)", count_ - 1) : "";
    fail_input("{}{}; {}", first_, others, remedy_);
  }

 private:
  std::vector<std::string>* list_;
  std::size_t count_ = 0;
  std::string first_, remedy_;
};

// Files by their name without the suffix.
using ByName = std::map<std::string, std::string>;

std::vector<std::string> files_of(const std::string& folder, bool nested,
                                  const std::vector<std::string>& suffixes) {
  std::error_code error;
  if (!fs::is_directory(folder, error))
    fail_input("{}: no such folder; check the data set's root and split", folder);
  std::vector<std::string> files = list_files(folder, suffixes);
  if (!nested) return files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (!entry.is_directory(error) || entry.path().filename().string().front() == '.') continue;
    const auto more = list_files(entry.path().string(), suffixes);
    files.insert(files.end(), more.begin(), more.end());
  }
  return files;
}

// `except`: files that end so are not meant (labels beside the images).
ByName by_name(const std::string& folder, bool nested, const std::vector<std::string>& suffixes,
               const std::string& except, Problems& problems) {
  ByName files;
  for (const std::string& path : files_of(folder, nested, suffixes)) {
    const std::string file = fs::path(path).filename().string();
    if (file.front() == '.' || (!except.empty() && file.ends_with(except))) continue;
    // Of several suffixes that fit, the file has the longest.
    const std::size_t cut =
        suffixes.size() == 1 ? suffixes[0].size() : fs::path(file).extension().string().size();
    if (cut >= file.size()) continue;
    const auto [other, fresh] = files.emplace(file.substr(0, file.size() - cut), path);
    if (!fresh)
      problems.add(fmt::format("{} and {} have the same name", other->second, path),
                   "remove one of them");
  }
  problems.finish_sort();
  return files;
}

class PartPairs {
 public:
  PartPairs(const FolderPart& part, std::vector<std::string>* list) : part_(part), list_(list) {
    Problems problems(list);
    std::error_code ignored;
    const bool together = !part.labels.empty() && fs::equivalent(part.images, part.labels, ignored);
    images_ = by_name(
        part.images, part.nested,
        part.image_suffix.empty() ? image_suffixes() : std::vector<std::string>{part.image_suffix},
        together ? part.label_suffix : "", problems);
    if (images_.empty())
      fail_input("{}: no image{} in this folder; check the folder and the suffix", part.images,
                 part.image_suffix.empty() ? "" : " *" + part.image_suffix);
    if (!part.labels.empty())
      labels_ = by_name(part.labels, part.nested, {part.label_suffix}, "", problems);
  }

  // Adds the pairs whose names are not `taken` yet.
  void add_to(std::vector<FilePair>& pairs, std::set<std::string>& taken) const {
    Problems unpaired(list_);
    for (const std::string& name : names()) {
      if (!taken.insert(name).second) continue;
      const std::string& image = images_.at(name);
      const auto label = labels_.find(name);
      if (part_.labels.empty())
        pairs.push_back({name, image, ""});
      else if (label != labels_.end())
        pairs.push_back({name, image, label->second});
      else
        unpaired.add(fmt::format("{}: has no label {}{} in {}", image, name, part_.label_suffix,
                                 part_.labels),
                     "add it or remove the image");
    }
    unpaired.finish_sort();
    if (!part_.list.empty()) return;
    Problems lonely(list_);
    for (const auto& [name, path] : labels_)
      if (!images_.contains(name))
        lonely.add(fmt::format("{}: has no image in {}", path, part_.images),
                   "add it or remove the label");
    lonely.finish_sort();
  }

 private:
  // Of the list, or of all images; each has an image.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    if (part_.list.empty()) {
      for (const auto& [name, path] : images_) names.push_back(name);
      return names;
    }
    Problems missing(list_);
    for (const auto& [name, line] : read_list(part_.list))
      if (images_.contains(name))
        names.push_back(name);
      else
        missing.add(fmt::format("{}:{}: names {}, but there is no such image in {}", part_.list,
                                line, name, part_.images),
                    "add it or remove the line");
    missing.finish_sort();
    return names;
  }

  const FolderPart& part_;
  std::vector<std::string>* list_;
  ByName images_, labels_;
};

}  // namespace

std::vector<ListedName> read_list(const std::string& path) {
  const std::vector<std::uint8_t> bytes = read_file(path, 1u << 28);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<ListedName> names;
  int line = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view word = text.substr(begin, end - begin);
    begin = end + 1;
    ++line;
    if (line == 1 && word.starts_with("\xef\xbb\xbf")) word.remove_prefix(3);  // byte order mark
    word.remove_prefix(std::min(word.find_first_not_of(" \t\r\v\f"), word.size()));
    word = word.substr(0, word.find_first_of(" \t\r\v\f"));
    if (word.find('\0') != std::string_view::npos || word.size() > 4096)
      fail_input("{}:{}: is no file name; give a text file with one name a line", path, line);
    const fs::path file(word);
    const bool suffixed =
        file.has_parent_path() || std::find(image_suffixes().begin(), image_suffixes().end(),
                                            file.extension().string()) != image_suffixes().end();
    const std::string name = suffixed ? file.stem().string() : std::string(word);
    if (!name.empty()) names.push_back({name, line});
  }
  if (names.empty()) fail_input("{}: names no image; give a text file with one name a line", path);
  return names;
}

std::vector<FilePair> pair_files(const std::vector<FolderPart>& parts,
                                 std::vector<std::string>* problems) {
  std::vector<FilePair> pairs;
  std::set<std::string> taken;
  for (const FolderPart& part : parts) PartPairs(part, problems).add_to(pairs, taken);
  // With a list of problems every pair may be missing: that is for its reader to see.
  if (pairs.empty() && problems == nullptr)
    fail_input("{}: no image of this split", parts.front().images);
  return pairs;
}

}  // namespace nextgrad
