#include "models/published_names.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "models/segformer_names.h"

namespace nextgrad {

namespace {

constexpr std::string_view kOuter = "mlp.dwconv.", kInner = "dwconv.";

// A tensor of every encoder: what stands before its name stands before all.
constexpr std::string_view kAnchors[] = {
    "patch_embed1.proj.0.weight", "patch_embed1.proj.weight", "block1.0.norm1.weight",
    "stages.0.patch_embeddings.proj.weight", "encoder.patch_embeddings.0.proj.weight"};
// What a model calls its encoder.
constexpr std::string_view kEncoders[] = {"backbone.", "segformer."};

// What wrappers of modules (distributed training, torch.compile, FSDP, checkpoints) put into names.
constexpr std::string_view kWrappers[] = {"module.", "_orig_mod.", "_fsdp_wrapped_module.",
                                          "_checkpoint_wrapped_module."};

std::string unwrapped(std::string name) {
  for (std::size_t at = 0; at < name.size();) {
    const std::string_view rest = std::string_view(name).substr(at);
    const auto wrapper = std::find_if(std::begin(kWrappers), std::end(kWrappers),
                                      [&](std::string_view w) { return rest.starts_with(w); });
    if (wrapper != std::end(kWrappers)) {
      name.erase(at, wrapper->size());
      continue;
    }
    const std::size_t dot = name.find('.', at);
    at = dot == std::string::npos ? name.size() : dot + 1;
  }
  return name;
}

// What stands before the encoder's names and what a model calls it, of each encoder in the file.
std::set<std::string> prefixes_of(const std::vector<std::string>& names) {
  std::set<std::string> prefixes;
  const auto cut = [](std::string& name, std::string_view end) {
    const bool whole = name.size() == end.size() ||
                       (name.size() > end.size() && name[name.size() - end.size() - 1] == '.');
    if (!whole || !name.ends_with(end)) return false;
    name.resize(name.size() - end.size());
    return true;
  };
  for (const std::string& name : names)
    for (const std::string_view anchor : kAnchors)
      if (std::string prefix = name; cut(prefix, anchor)) {
        for (const std::string_view encoder : kEncoders) cut(prefix, encoder);
        prefixes.insert(prefix);
      }
  return prefixes;
}

// Of several models in one file the one that was trained, not its average or teacher; then the
// least nested.
std::string choose_prefix(const std::set<std::string>& prefixes) {
  const auto rank = [](const std::string& prefix) {
    const bool second =
        prefix.find("ema") != std::string::npos || prefix.find("teacher") != std::string::npos;
    return std::pair(second, prefix.size());
  };
  const auto best = std::min_element(prefixes.begin(), prefixes.end(),
                                     [&](auto& a, auto& b) { return rank(a) < rank(b); });
  return best == prefixes.end() ? "" : *best;
}

bool is_encoder_name(const std::string& name) {
  return name.starts_with("patch_embed") || name.starts_with("block") || name.starts_with("norm") ||
         name.starts_with("stages.");
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

// The tensors under our names, but for what stands before the encoder's.
struct Renamed {
  StateDict tensors;
  bool segformer;
};
Renamed renamed(const StateDict& file, std::string* taken) {
  const auto names = names_without_prefix(file, taken);
  if (is_segformer(names)) return {with_segformer_names(file, names), true};
  Renamed result{file, false};
  for (std::size_t i = 0; i < file.size(); ++i) result.tensors[i].name = published_name(names[i]);
  return result;
}

bool fits(const ModelConfig& config, const Architecture& a) {
  if (a.kind != config.encoder.kind) return false;
  for (std::size_t i = 0; i < 4; ++i)
    if (a.channels[i] != config.encoder.channels[i] || a.blocks[i] != config.encoder.blocks[i])
      return false;
  return a.decoder_channels == 0 || a.decoder_channels == config.decoder.width;
}

}  // namespace

std::string without_encoder(const std::string& name) {
  for (const std::string_view encoder : kEncoders)
    if (name.starts_with(encoder)) return name.substr(encoder.size());
  return name;
}

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

std::vector<std::string> names_without_prefix(const StateDict& file, std::string* taken) {
  std::vector<std::string> names;
  for (const NamedTensor& t : file) names.push_back(unwrapped(t.name));
  const bool copies = std::set(names.begin(), names.end()).size() < file.size();
  for (std::size_t i = 0; copies && i < file.size(); ++i) names[i] = file[i].name;
  const std::string prefix = choose_prefix(prefixes_of(names));
  std::set<std::string> model;
  for (std::string& name : names)
    if (name.starts_with(prefix)) model.insert(name = name.substr(prefix.size()));
  for (std::size_t i = 0; i < file.size(); ++i) {
    const bool changed = names[i] != file[i].name;
    if (!prefix.empty() && !changed && model.contains(names[i])) names[i] += " (outside the model)";
    if (taken == nullptr || !taken->empty() || !changed) continue;
    *taken = file[i].name.ends_with(names[i])
                 ? file[i].name.substr(0, file[i].name.size() - names[i].size())
                 : file[i].name + " (now " + names[i] + ")";
  }
  return names;
}

StateDict adapt_published_names(const StateDict& file, std::vector<std::string>* left_out,
                                std::string* taken) {
  const auto [tensors, segformer] = renamed(file, taken);
  const bool encoder_alone = std::ranges::none_of(
      tensors, [](const NamedTensor& t) { return without_encoder(t.name) != t.name; });
  const std::string encoder = segformer ? "segformer." : "backbone.";
  StateDict result;
  for (const auto& [name, value] : tensors)
    if (name.starts_with("auxiliary_head.") ||
        ((encoder_alone || segformer) && name.starts_with("head.")) ||
        (segformer && name.starts_with("decode_head.conv_seg.")))
      leave_out(left_out, name);
    else
      result.push_back({encoder_alone && is_encoder_name(name) ? encoder + name : name, value});
  return result;
}

StateDict adapt_encoder_names(const StateDict& file, std::vector<std::string>* left_out,
                              std::string* taken) {
  StateDict result;
  for (const auto& [name, value] : renamed(file, taken).tensors)
    if (name.starts_with("auxiliary_head.") || name.starts_with("decode_head."))
      leave_out(left_out, name);
    else
      result.push_back({without_encoder(name), value});
  return result;
}

Architecture architecture_of(const StateDict& weights) {
  Architecture a;
  std::unordered_map<std::string, const Shape*> shapes;
  for (const NamedTensor& t : weights) {
    shapes[t.name] = &t.value.shape();
    if (t.name.starts_with("segformer.")) a.kind = EncoderConfig::Kind::mit;
    for (std::size_t i = 0; i < 4; ++i)
      for (const std::string& blocks :
           {fmt::format("backbone.block{}.", i + 1), fmt::format("segformer.stages.{}.blocks.", i)})
        a.blocks[i] = std::max(a.blocks[i], index_after(t.name, blocks));
  }
  const auto extent = [&](const std::string& name) {
    const auto found = shapes.find(name);
    return found == shapes.end() || found->second->size() == 0 ? 0 : (*found->second)[0];
  };
  for (std::size_t i = 0; i < 4; ++i)
    a.channels[i] = std::max(extent(fmt::format("backbone.norm{}.weight", i + 1)),
                             extent(fmt::format("segformer.stages.{}.layer_norm.weight", i)));
  a.decoder_channels =
      std::max(extent("decode_head.squeeze.conv.weight"), extent("decode_head.linear_fuse.weight"));
  a.classes =
      std::max(extent("decode_head.conv_seg.weight"), extent("decode_head.classifier.weight"));
  for (const std::string& variant : variant_names())
    if (fits(model_config(variant, 1), a)) a.variant = variant;
  return a;
}

}  // namespace nextgrad
