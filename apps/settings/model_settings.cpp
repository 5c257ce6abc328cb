#include "apps/settings/model_settings.h"

#include <algorithm>
#include <iterator>

namespace nextgrad {
namespace {

using Encoder4 = std::array<int, 4>;
using Kind = DecoderConfig::Kind;

const std::vector<std::string> kAttentions = {"msca", "lka"}, kGates = {"product", "sum", "none"},
                               kDecoders = {"own",  "ham", "cc",   "ema", "nonlocal",
                                            "msca", "mlp", "aspp", "uper"},
                               kFactors = {"nmf", "vq", "cd"},
                               kGradients = {"unrolled", "one_step"};

// The value of an enum whose names stand in the order of its values.
template <class Enum>
Enum value_of(const std::string& name, const std::vector<std::string>& names) {
  return static_cast<Enum>(std::ranges::find(names, name) - names.begin());
}

void set_stages(Encoder4& target, const std::vector<std::int64_t>& given, const char* key) {
  if (given.empty()) return;
  if (given.size() != target.size())
    fail_input("{}: has {} numbers; one for each of 4 stages is needed", key, given.size());
  std::ranges::transform(given, target.begin(), [](auto n) { return static_cast<int>(n); });
}

std::vector<int> ints(const std::vector<std::int64_t>& numbers) {
  return {numbers.begin(), numbers.end()};
}

// What a kind of decoder is usually given, if it is not the variant's own.
void set_usual(DecoderConfig& d) {
  const bool all = d.kind == Kind::mlp || d.kind == Kind::uper;
  d.stages = all ? std::vector{1, 2, 3, 4} : std::vector{2, 3, 4};
  if (d.kind == Kind::aspp) d.stages = {4};
  if (d.kind == Kind::ema) d.ham.rank = 64;
}

}  // namespace

Settings settings_of(ModelSettings& m) {
  return {
      {"variant", fmt::format("{}", fmt::join(variant_names(), ", ")), m.variant, variant_names()},
      {"encoder.channels", "of the 4 stages, such as 32,64,160,256; [] = the variant's own",
       m.channels, 2, 8192},
      {"encoder.blocks", "of the 4 stages; [] = the variant's own", m.blocks, 1, 200},
      {"encoder.ratios",
       "feed-forward width over channels, of the 4 stages; [] = the variant's own", m.ratios, 1,
       16},
      {"encoder.attention",
       "of a block of MSCAN: msca (strips of several kernels) or lka (VAN's one large kernel)",
       m.attention, kAttentions},
      {"encoder.branches", "kernels of msca's strips; [] = none", m.branches, 3, 63},
      {"encoder.mixing", "the attention's channels are mixed, 1x1", m.mixing},
      {"encoder.gate",
       "attention and its input: product (the paper's), sum, or none (the attention alone goes on)",
       m.gate, kGates},
      {"decoder.kind",
       "ham, cc, ema, nonlocal, msca (global context), mlp (SegFormer's), aspp, uper; own = the "
       "variant's",
       m.decoder, kDecoders},
      {"decoder.stages", "that it reads, such as 2,3,4; [] = the usual ones", m.stages, 1, 4},
      {"decoder.width", "its channels, a multiple of 32; 0 = the variant's own", m.width, 0, 8192},
      {"decoder.factors", "of ham: nmf, vq or cd", m.factors, kFactors},
      {"decoder.rank", "of ham, and how many bases ema has; 0 = the usual one", m.rank, 0, 4096},
      {"decoder.steps", "of ham in training; ema does half of them", m.steps, 1, 100},
      {"decoder.eval-steps", "of ham in evaluation", m.eval_steps, 1, 100},
      {"decoder.gradient",
       "of ham: unrolled (through all steps) or one_step (the last coefficients alone)", m.gradient,
       kGradients},
  };
}

std::string difference_text(const ModelSettings& model) {
  ModelSettings own, copy = model;
  own.variant = model.variant;
  const Settings usual = settings_of(own), settings = settings_of(copy);
  std::string text;
  for (std::size_t i = 0; i < settings.size(); ++i)
    if (settings[i].str() != usual[i].str())
      text += fmt::format("{} = {}\n", settings[i].key, settings[i].str());
  return text;
}

std::string name_of(const ModelSettings& model) {
  std::string text = difference_text(model);
  if (text.empty()) return model.variant;
  text.pop_back();
  for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos;)
    text.replace(at, 1, ", ");
  return fmt::format("{} with {}", model.variant, text);
}

ModelConfig model_config(const ModelSettings& m, int classes) {
  ModelConfig c = model_config(m.variant, classes);
  set_stages(c.encoder.channels, m.channels, "encoder.channels");
  set_stages(c.encoder.blocks, m.blocks, "encoder.blocks");
  set_stages(c.encoder.ratios, m.ratios, "encoder.ratios");
  c.encoder.attention = value_of<EncoderConfig::Attention>(m.attention, kAttentions);
  c.encoder.gate = value_of<EncoderConfig::Gate>(m.gate, kGates);
  c.encoder.branches = ints(m.branches);
  c.encoder.mixing = m.mixing;
  DecoderConfig& d = c.decoder;
  if (m.decoder != "own") {
    const auto kind =
        static_cast<Kind>(std::ranges::find(kDecoders, m.decoder) - kDecoders.begin() - 1);
    if (kind != d.kind) {
      d.kind = kind;
      set_usual(d);
    }
  }
  if (!m.stages.empty()) d.stages = ints(m.stages);
  if (m.width > 0) d.width = static_cast<int>(m.width);
  if (m.rank > 0) d.ham.rank = static_cast<int>(m.rank);
  d.ham.kind = value_of<DecompositionOptions::Kind>(m.factors, kFactors);
  d.ham.gradient = value_of<DecompositionOptions::Gradient>(m.gradient, kGradients);
  d.ham.train_steps = static_cast<int>(m.steps);
  d.ham.eval_steps = static_cast<int>(m.eval_steps);
  return c;
}

}  // namespace nextgrad
