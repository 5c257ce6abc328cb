#include "models/segformer_names.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace nextgrad {

namespace {

struct Spelling {
  std::string theirs, ours;
};

// What names begin with: NVlabs count from 1.
std::vector<Spelling> make_beginnings() {
  std::vector<Spelling> all = {{"decode_head.linear_fuse.conv.", "decode_head.linear_fuse."},
                               {"decode_head.linear_fuse.bn.", "decode_head.batch_norm."},
                               {"decode_head.linear_pred.", "decode_head.classifier."},
                               {"decode_head.linear_c.", "decode_head.linear_projections."},
                               {"classifier.", "head."}};
  for (int i = 0; i < 4; ++i) {
    const std::string stage = fmt::format("stages.{}.", i);
    all.push_back({fmt::format("patch_embed{}.", i + 1), stage + "patch_embeddings."});
    all.push_back({fmt::format("block{}.", i + 1), stage + "blocks."});
    all.push_back({fmt::format("norm{}.", i + 1), stage + "layer_norm."});
    all.push_back({fmt::format("encoder.patch_embeddings.{}.", i), stage + "patch_embeddings."});
    all.push_back({fmt::format("encoder.block.{}.", i), stage + "blocks."});
    all.push_back({fmt::format("encoder.layer_norm.{}.", i), stage + "layer_norm."});
    all.push_back({fmt::format("decode_head.linear_c{}.", i + 1),
                   fmt::format("decode_head.linear_projections.{}.", i)});
  }
  return all;
}

// What stands within the encoder's names: NVlabs', then those of transformers 4.
const std::array<Spelling, 18> kWithin{
    {{".patch_embeddings.norm.", ".patch_embeddings.layer_norm."},
     {".norm1.", ".layernorm_before."},
     {".norm2.", ".layernorm_after."},
     {".attn.q.", ".attention.q_proj."},
     {".attn.k.", ".attention.k_proj."},  // these two when kv has been split
     {".attn.v.", ".attention.v_proj."},
     {".attn.proj.", ".attention.o_proj."},
     {".attn.sr.", ".attention.sequence_reduction.sequence_reduction."},
     {".attn.norm.", ".attention.sequence_reduction.layer_norm."},
     {".layer_norm_1.", ".layernorm_before."},
     {".layer_norm_2.", ".layernorm_after."},
     {".attention.self.query.", ".attention.q_proj."},
     {".attention.self.key.", ".attention.k_proj."},
     {".attention.self.value.", ".attention.v_proj."},
     {".attention.output.dense.", ".attention.o_proj."},
     {".attention.self.sr.", ".attention.sequence_reduction.sequence_reduction."},
     {".attention.self.layer_norm.", ".attention.sequence_reduction.layer_norm."},
     {".mlp.dense", ".mlp.fc"}}};

std::string our_name(std::string name) {
  static const std::vector<Spelling> beginnings = make_beginnings();
  std::string before;
  for (const std::string_view prefix : {"backbone.", "segformer."})
    if (name.starts_with(prefix)) {
      name.erase(0, prefix.size());
      before = "segformer.";
    }
  for (const Spelling& s : beginnings)
    if (name.starts_with(s.theirs)) {
      name.replace(0, s.theirs.size(), s.ours);
      break;
    }
  if (name.starts_with("stages."))
    for (const Spelling& s : kWithin)
      if (const std::size_t at = name.find(s.theirs); at != std::string::npos) {
        name.replace(at, s.theirs.size(), s.ours);
        break;
      }
  return before + name;
}

}  // namespace

bool is_segformer(const std::vector<std::string>& names) {
  constexpr std::string_view kQueries[] = {".attention.q_proj.", ".attention.self.query.",
                                           ".attn.q."};
  return std::ranges::any_of(names, [&](const std::string& name) {
    return std::ranges::any_of(
        kQueries, [&](std::string_view query) { return name.find(query) != std::string::npos; });
  });
}

StateDict with_segformer_names(const StateDict& file, const std::vector<std::string>& names) {
  StateDict result;
  for (std::size_t i = 0; i < file.size(); ++i) {
    const Tensor& t = file[i].value;
    const std::size_t at = names[i].find(".attn.kv.");
    if (at == std::string::npos || t.ndim() < 1 || t.dim(0) % 2 != 0) {
      result.push_back({our_name(names[i]), t});
      continue;
    }
    const std::int64_t half = t.dim(0) / 2;
    for (const auto& [part, begin] : {std::pair(".attn.k.", std::int64_t{0}), {".attn.v.", half}})
      result.push_back({our_name(std::string(names[i]).replace(at, 9, part)),
                        t.slice(0, begin, begin + half).contiguous()});
  }
  return result;
}

}  // namespace nextgrad
