// The TOML description of a pair of folders.
#include <toml++/toml.h>

#include <filesystem>
#include <set>

#include "data/file.h"
#include "data/folder_dataset.h"
#include "data/palette.h"
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
    }
  }

  FolderSpec spec(const std::string& split) const {
    check_keys(table_, {"classes", "palette", "ignore_label", "reduce_zero_label", "image_suffix",
                        "label_suffix"});
    FolderSpec spec;
    read_classes(spec);
    read_palette(spec);
    read_mapping(spec);
    FolderPart part;
    part.image_suffix = text(table_, "image_suffix", "");
    part.label_suffix = text(table_, "label_suffix", ".png");
    if (part.label_suffix.empty()) fail_input("{}: label_suffix is empty", path_);
    const toml::table* folders = table_[split].as_table();
    if (folders == nullptr)
      fail_input("{}: has no split [{}]; it has {}", path_, split,
                 splits().empty() ? "none: add a table [train] with images and labels"
                                  : fmt::format("{}", fmt::join(splits(), ", ")));
    check_keys(*folders, {"images", "labels"});
    part.images = folder(*folders, "images", split);
    part.labels = folder(*folders, "labels", split);
    spec.parts = {part};
    return spec;
  }

  std::vector<std::string> splits() const {
    std::vector<std::string> names;
    for (const auto& [key, node] : table_)
      if (node.is_table()) names.emplace_back(key.str());
    return names;
  }

 private:
  // Refuses what is neither a known key nor, at the top, a split's table.
  void check_keys(const toml::table& table, const std::set<std::string>& known) const {
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      if (!known.contains(name) && !(&table == &table_ && node.is_table()))
        fail_input("{}: unknown key {}; known are {}", path_, name, fmt::join(known, ", "));
    }
  }

  std::string text(const toml::table& table, const char* key, const char* otherwise) const {
    if (!table.contains(key)) return otherwise;
    const auto value = table[key].value_exact<std::string>();
    if (!value) fail_input("{}: {} is no text", path_, key);
    return *value;
  }

  std::string folder(const toml::table& table, const char* key, const std::string& split) const {
    const std::string value = text(table, key, "");
    if (value.empty()) fail_input("{}: [{}] wants {} = \"a folder\"", path_, split, key);
    return (fs::path(path_).parent_path() / value).string();
  }

  void read_classes(FolderSpec& spec) const {
    const toml::array* names = table_["classes"].as_array();
    if (names == nullptr || names->empty() || names->size() > 255)
      fail_input("{}: wants classes = [\"a\", \"b\", ...], 1 to 255 names", path_);
    for (const toml::node& node : *names) {
      const auto name = node.value_exact<std::string>();
      if (!name || name->empty()) fail_input("{}: classes holds something that is no name", path_);
      spec.classes.push_back(*name);
    }
  }

  void read_palette(FolderSpec& spec) const {
    spec.palette = make_palette(static_cast<int>(spec.classes.size()));
    if (!table_.contains("palette")) return;
    const toml::array* colors = table_["palette"].as_array();
    if (colors == nullptr || colors->size() != spec.classes.size())
      fail_input("{}: palette wants one [red, green, blue] for each of the {} classes", path_,
                 spec.classes.size());
    for (std::size_t k = 0; k < colors->size(); ++k) {
      const toml::array* color = colors->get(k)->as_array();
      for (std::size_t c = 0; c < 3; ++c) {
        const auto value = color != nullptr && color->size() == 3
                               ? color->get(c)->value_exact<std::int64_t>()
                               : std::nullopt;
        if (!value || *value < 0 || *value > 255)
          fail_input("{}: palette entry {} is no [red, green, blue] of 0 to 255", path_, k);
        spec.palette[k][c] = static_cast<std::uint8_t>(*value);
      }
    }
  }

  void read_mapping(FolderSpec& spec) const {
    std::int64_t ignore = kIgnoreLabel;
    bool reduce = false;
    if (table_.contains("ignore_label")) {
      const auto value = table_["ignore_label"].value_exact<std::int64_t>();
      if (!value || *value < 0 || *value > 255)
        fail_input("{}: ignore_label is no number of 0 to 255", path_);
      ignore = *value;
    }
    if (table_.contains("reduce_zero_label")) {
      const auto value = table_["reduce_zero_label"].value_exact<bool>();
      if (!value) fail_input("{}: reduce_zero_label is neither true nor false", path_);
      reduce = *value;
    }
    spec.mapping.fill(-1);
    for (std::size_t k = 0; k < spec.classes.size(); ++k)
      spec.mapping[k + (reduce ? 1 : 0)] = static_cast<int>(k);
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
