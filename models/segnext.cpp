#include "models/segnext.h"

#include "autograd/shape_ops.h"

namespace nextgrad {

namespace {

SegNeXtConfig with(const char* variant, const MSCANConfig& encoder, int width, int rank) {
  return {.variant = variant, .encoder = encoder, .decoder_channels = width, .rank = rank};
}

// Table 2 and Table 3 of the paper; nano is ours.
std::vector<SegNeXtConfig> table() {
  const std::array<int, 4> wide = {64, 128, 320, 512};
  return {with("nano", {.channels = {16, 32, 64, 128}, .blocks = {1, 1, 2, 1}, .drop_path = 0.05},
               64, 8),
          with("tiny", {.channels = {32, 64, 160, 256}, .blocks = {3, 3, 5, 2}}, 256, 16),
          with("small", {.channels = wide, .blocks = {2, 2, 4, 2}}, 256, 16),
          with("base", {.channels = wide, .blocks = {3, 3, 12, 3}}, 512, 64),
          with("large", {.channels = wide, .blocks = {3, 5, 27, 3}, .drop_path = 0.3}, 1024, 64)};
}

}  // namespace

std::vector<std::string> segnext_variants() {
  std::vector<std::string> names;
  for (const SegNeXtConfig& c : table()) names.push_back(c.variant);
  return names;
}

std::vector<ParameterRule> segnext_rules(double head_lr) {
  return {{.contains = "head", .lr_scale = head_lr}, {.contains = "norm", .decay_scale = 0}};
}

SegNeXtConfig segnext_config(std::string_view variant, int num_classes) {
  if (num_classes < 1) fail_input("a model needs at least 1 class, not {}", num_classes);
  for (SegNeXtConfig c : table()) {
    const bool initial = variant.size() == 1 && c.variant != "nano" && c.variant[0] == variant[0];
    if (c.variant != variant && !initial) continue;
    c.num_classes = num_classes;
    return c;
  }
  fail_input("unknown variant '{}'; there are nano, tiny, small, base and large", variant);
}

SegNeXt::SegNeXt(const SegNeXtConfig& config)
    : config_(config),
      backbone_(child<MSCAN>("backbone", config.encoder)),
      head_(child<LightHamHead>(
          "decode_head",
          std::vector<int>(config.encoder.channels.begin() + 1, config.encoder.channels.end()),
          config.decoder_channels, config.rank, config.num_classes, config.dropout)) {}

SegNeXt::Output SegNeXt::forward_stages(const Variable& image) const {
  std::vector<Variable> stages = backbone_.features(image);
  const Variable logits = head_.forward({stages[1], stages[2], stages[3]});
  // Losses and scores are sums of many exponentials.
  const DType scores = parameter_dtype(logits.dtype());
  return {std::move(stages), cast(logits, scores)};
}

Variable SegNeXt::loss(const Variable& logits, const Tensor& labels,
                       const CrossEntropyOptions& options) const {
  return upsample_cross_entropy(logits, labels, options);
}

Tensor SegNeXt::predict(const Variable& logits, std::int64_t height, std::int64_t width) const {
  return logits.backend().resize_argmax(logits.value().contiguous(), height, width);
}

}  // namespace nextgrad
