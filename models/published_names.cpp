#include "models/published_names.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <unordered_map>

namespace nextgrad {

namespace {

constexpr std::string_view kOuter = "mlp.dwconv.", kInner = "dwconv.";

std::string without_prefix(const std::string& name, std::string_view prefix) {
  return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

void leave_out(std::vector<std::string>* left_out, const std::string& name) {
  if (left_out != nullptr) left_out->push_back(name);
}

// j + 1 of a name that goes on from `prefix` with "j."; 0 for other names.
std::int64_t index_after(const std::string& name, const std::string& prefix) {
  if (!name.starts_with(prefix)) return 0;
  std::int64_t index = 0;
  const char* end = name.data() + name.size();
  const auto [at, error] = std::from_chars(name.data() + prefix.size(), end, index);
  return error == std::errc() && at != end && *at == '.' && index >= 0 && index < 1000 ? index + 1
                                                                                       : 0;
}

bool fits(const SegNeXtConfig& config, const Architecture& a) {
  for (std::size_t i = 0; i < 4; ++i)
    if (a.channels[i] != config.encoder.channels[i] || a.blocks[i] != config.encoder.blocks[i])
      return false;
  return a.decoder_channels == 0 || a.decoder_channels == config.decoder_channels;
}

}  // namespace

std::string published_name(const std::string& name) {
  const std::size_t at = name.find(kOuter);
  if (at == std::string::npos || name.find("dwconv.dwconv.") != std::string::npos) return name;
  return name.substr(0, at + kOuter.size()) + "dwconv." + name.substr(at + kOuter.size());
}

std::string mmseg1_name(const std::string& name) {
  const std::size_t at = name.find(kOuter);
  const std::size_t inner = at + kOuter.size();
  if (at == std::string::npos || name.compare(inner, kInner.size(), kInner) != 0) return name;
  return name.substr(0, inner) + name.substr(inner + kInner.size());
}

StateDict adapt_published_names(const StateDict& file, std::vector<std::string>* left_out) {
  StateDict renamed;
  for (const NamedTensor& t : file)
    renamed.push_back({published_name(without_prefix(t.name, "module.")), t.value});
  const bool encoder_alone = std::none_of(renamed.begin(), renamed.end(), [](const NamedTensor& t) {
    return t.name.starts_with("backbone.");
  });
  StateDict result;
  for (NamedTensor& t : renamed) {
    if (t.name.starts_with("auxiliary_head.") || (encoder_alone && t.name.starts_with("head."))) {
      leave_out(left_out, t.name);
      continue;
    }
    if (encoder_alone && !t.name.starts_with("decode_head.")) t.name = "backbone." + t.name;
    result.push_back(std::move(t));
  }
  return result;
}

StateDict adapt_encoder_names(const StateDict& file, std::vector<std::string>* left_out) {
  StateDict result;
  for (const NamedTensor& t : file) {
    const std::string name = without_prefix(t.name, "module.");
    if (name.starts_with("auxiliary_head.") || name.starts_with("decode_head."))
      leave_out(left_out, name);
    else
      result.push_back({published_name(without_prefix(name, "backbone.")), t.value});
  }
  return result;
}

Architecture architecture_of(const StateDict& weights) {
  Architecture a;
  std::unordered_map<std::string, const Shape*> shapes;
  for (const NamedTensor& t : weights) {
    shapes[t.name] = &t.value.shape();
    for (std::size_t i = 0; i < 4; ++i)
      a.blocks[i] =
          std::max(a.blocks[i], index_after(t.name, fmt::format("backbone.block{}.", i + 1)));
  }
  const auto extent = [&](const std::string& name) {
    const auto found = shapes.find(name);
    return found == shapes.end() || found->second->size() == 0 ? 0 : (*found->second)[0];
  };
  for (std::size_t i = 0; i < 4; ++i)
    a.channels[i] = extent(fmt::format("backbone.norm{}.weight", i + 1));
  a.decoder_channels = extent("decode_head.squeeze.conv.weight");
  a.classes = extent("decode_head.conv_seg.weight");
  for (const std::string& variant : segnext_variants())
    if (fits(segnext_config(variant, 1), a)) a.variant = variant;
  return a;
}

}  // namespace nextgrad
