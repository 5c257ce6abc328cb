// The TOML description of a pair of folders.
#include <algorithm>
#include <filesystem>
#include <numeric>
#include <set>

#include "data/datasets/folder_dataset.h"
#include "data/files/file.h"
#include "data/files/text.h"
#include "data/files/toml.h"
#include "data/images/palette.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

namespace fs = std::filesystem;

class Description {
 public:
  explicit Description(const std::string& path) : path_(path) {
    const std::vector<std::uint8_t> bytes = read_file(path, 1u << 20);
    try {
      table_ = toml::parse(
          std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()), path);
    } catch (const toml::parse_error& e) {
      fail_input("{}: line {}: {}", path, e.source().begin.line, e.description());
    } catch (const InputError& e) {
      fail_input("{}: {}", path, e.what());
    }
  }

  FolderSpec spec(const std::string& split) const {
    check_keys(table_, {"classes", "palette", "ignore_colors", "ignore_label", "reduce_zero_label",
                        "image_suffix", "label_suffix", "values"});
    FolderSpec spec;
    spec.description = path_;
    read_classes(spec);
    read_palette(spec);
    if (table_.contains(kValues))
      read_values(spec);
    else
      read_mapping(spec);
    FolderPart part;
    part.image_suffix = value<std::string>(table_, "image_suffix", "", "is no text");
    part.label_suffix = value<std::string>(table_, "label_suffix", ".png", "is no text");
    if (part.label_suffix.empty()) wrong(*table_.get("label_suffix"), "label_suffix is empty");
    const toml::table* folders = split == kValues ? nullptr : table_[split].as_table();
    if (folders == nullptr)
      fail_input("{}: has no split [{}]; it has {}", path_, split,
                 splits().empty() ? "none: add a table [train] with images and labels"
                                  : fmt::format("{}", fmt::join(splits(), ", ")));
    check_keys(*folders, {"images", "labels", "list"});
    part.images = folder(*folders, "images", split);
    part.labels = folder(*folders, "labels", split);
    if (folders->contains("list")) part.list = folder(*folders, "list", split);
    part.exact_list = true;
    part.apart = all_folders();
    spec.parts = {part};
    return spec;
  }

  std::vector<std::string> splits() const {
    std::vector<std::string> names;
    for (const auto& [key, node] : table_)
      if (node.is_table() && key.str() != kValues) names.emplace_back(key.str());
    return names;
  }

 private:
  static constexpr const char* kValues = "values";

  template <class... Args>
  [[noreturn]] void wrong(const toml::node& at, fmt::format_string<Args...> format,
                          Args&&... args) const {
    fail_input("{}: line {}: {}", path_, at.source().begin.line,
               fmt::format(format, std::forward<Args>(args)...));
  }

  // Refuses what is neither a known key nor, at the top, a split's table.
  void check_keys(const toml::table& table, const std::set<std::string>& known) const {
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      if (!known.contains(name) && !(&table == &table_ && node.is_table()))
        wrong(node, "unknown key {}; known are {}", name, fmt::join(known, ", "));
    }
  }

  // The value under a key, or `otherwise` where there is none.
  template <class T>
  T value(const toml::table& table, const char* key, T otherwise, const char* complaint) const {
    const toml::node* node = table.get(key);
    if (node == nullptr) return otherwise;
    const auto value = node->value_exact<T>();
    if (!value) wrong(*node, "{} {}", key, complaint);
    return *value;
  }

  std::string folder(const toml::table& table, const char* key, const std::string& split) const {
    const auto name = value<std::string>(table, key, "", "is no text");
    if (name.empty())
      wrong(table, "[{}] wants {} = \"a {}\"", split, key,
            std::string_view(key) == "list" ? "text file" : "folder");
    return (fs::path(path_).parent_path() / name).string();
  }

  // Of every split: should one lie in another's, its files are not that one's.
  std::vector<std::string> all_folders() const {
    std::vector<std::string> folders;
    for (const std::string& split : splits())
      for (const char* key : {"images", "labels"})
        if (const auto value = table_[split][key].value_exact<std::string>())
          folders.push_back((fs::path(path_).parent_path() / *value).string());
    return folders;
  }

  void read_classes(FolderSpec& spec) const {
    const toml::array* names = table_["classes"].as_array();
    if (names == nullptr || names->empty() || names->size() > 255)
      fail_input("{}: wants classes = [\"a\", \"b\", ...], 1 to 255 names", path_);
    for (const toml::node& node : *names) {
      const auto name = node.value_exact<std::string>();
      if (!name || name->empty()) wrong(node, "classes holds something that is no name");
      if (std::find(spec.classes.begin(), spec.classes.end(), *name) != spec.classes.end())
        wrong(node, "class {} is there twice; give each class its own name", in_quotes(*name));
      spec.classes.push_back(*name);
    }
  }

  void read_palette(FolderSpec& spec) const {
    if (!table_.contains("palette")) {
      spec.palette = make_palette(static_cast<int>(spec.classes.size()));
      if (const toml::node* colors = table_.get("ignore_colors"))
        wrong(*colors, "ignore_colors without palette; say which colour is which class");
      return;
    }
    spec.palette = colors("palette");
    if (spec.palette.size() != spec.classes.size())
      wrong(*table_.get("palette"),
            "palette wants one [red, green, blue] for each of the {} classes, it has {}",
            spec.classes.size(), spec.palette.size());
    const auto add = [&](const Color& color, std::size_t k) {
      if (!spec.colors.emplace(color, static_cast<std::uint8_t>(k)).second)
        wrong(*table_.get("palette"), "colour [{}] is there twice; give each class its own",
              fmt::join(color, ", "));
    };
    for (std::size_t k = 0; k < spec.palette.size(); ++k) add(spec.palette[k], k);
    if (table_.contains("ignore_colors"))
      for (const Color& color : colors("ignore_colors")) add(color, kIgnoreLabel);
  }

  Palette colors(const char* key) const {
    const toml::array* list = table_[key].as_array();
    if (list == nullptr) wrong(*table_.get(key), "{} wants [[red, green, blue], ...]", key);
    Palette colors(list->size());
    for (std::size_t k = 0; k < colors.size(); ++k) {
      const toml::array* color = list->get(k)->as_array();
      for (std::size_t c = 0; c < 3; ++c) {
        const auto value = color != nullptr && color->size() == 3
                               ? color->get(c)->value_exact<std::int64_t>()
                               : std::nullopt;
        if (!value || *value < 0 || *value > 255)
          wrong(*list->get(k), "{} entry {} is no [red, green, blue] of 0 to 255", key, k);
        colors[k][c] = static_cast<std::uint8_t>(*value);
      }
    }
    return colors;
  }

  // [values]: the class, or "ignore", of each value that may stand in a label file.
  void read_values(FolderSpec& spec) const {
    const toml::table* values = table_[kValues].as_table();
    if (values == nullptr || values->empty())
      wrong(*table_.get(kValues), "values wants lines such as 255 = \"{}\" or 0 = \"ignore\"",
            spec.classes.front());
    for (const char* other : {"ignore_label", "reduce_zero_label"})
      if (const toml::node* node = table_.get(other))
        wrong(*node, "{} beside [values]; say it there", other);
    for (const auto& [key, node] : *values) {
      const std::string digits(key.str());
      const int value = parse_number<int>(digits).value_or(-1);
      if (value < 0 || value > 65535)
        wrong(node, "[values] has {}, which is no number of 0 to 65535", in_quotes(digits));
      const auto [other, fresh] = spec.values.emplace(value, class_of(spec, value, node));
      if (!fresh) wrong(node, "[values] has {} twice; remove one", other->first);
    }
    // Where no value is above 255, the quicker table does.
    spec.mapping.fill(-1);
    if (spec.values.rbegin()->first > 255) return;
    for (const auto& [value, k] : spec.values) spec.mapping[static_cast<std::size_t>(value)] = k;
    spec.values.clear();
  }

  std::uint8_t class_of(const FolderSpec& spec, int value, const toml::node& node) const {
    const auto name = node.value_exact<std::string>();
    if (!name) wrong(node, "[values] {} wants the name of a class, or \"ignore\"", value);
    const auto at = std::find(spec.classes.begin(), spec.classes.end(), *name);
    if (*name == "ignore" && at != spec.classes.end())
      wrong(node, "[values] {} = \"ignore\": is that the class of this name? Rename the class",
            value);
    if (*name == "ignore") return kIgnoreLabel;
    if (at == spec.classes.end()) {
      const std::string guess = nearest(*name, spec.classes);
      wrong(node, "[values] {} = {} is no class{}; name one of classes, or \"ignore\"", value,
            in_quotes(*name),
            guess.empty() ? "" : fmt::format(", did you mean {}?", in_quotes(guess)));
    }
    return static_cast<std::uint8_t>(at - spec.classes.begin());
  }

  void read_mapping(FolderSpec& spec) const {
    constexpr const char* kComplaint = "is no number of 0 to 255";
    const auto ignore = value<std::int64_t>(table_, "ignore_label", kIgnoreLabel, kComplaint);
    if (ignore < 0 || ignore > 255)
      wrong(*table_.get("ignore_label"), "ignore_label {}", kComplaint);
    const bool reduce = value(table_, "reduce_zero_label", false, "is neither true nor false");
    spec.mapping.fill(-1);
    std::iota(spec.mapping.begin() + reduce,
              spec.mapping.begin() + reduce + std::ssize(spec.classes), 0);
    if (reduce) spec.mapping[0] = kIgnoreLabel;
    spec.mapping[static_cast<std::size_t>(ignore)] = kIgnoreLabel;
  }

  std::string path_;
  toml::table table_;
};

}  // namespace

FolderSpec read_folder_spec(const std::string& toml_path, const std::string& split) {
  return Description(toml_path).spec(split);
}

std::vector<std::string> folder_splits(const std::string& toml_path) {
  return Description(toml_path).splits();
}

}  // namespace nextgrad
