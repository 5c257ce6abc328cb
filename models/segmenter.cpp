#include "models/segmenter.h"

#include "autograd/shape_ops.h"
#include "models/context_decoder.h"

namespace nextgrad {

namespace {

// Table 2 and Table 3 of the paper; nano is ours.
ModelConfig segnext(const char* variant, const EncoderConfig& encoder, int width, int rank) {
  return {
      .variant = variant, .encoder = encoder, .decoder = {.width = width, .ham = {.rank = rank}}};
}

// Table 6 of SegFormer's paper; the ratios are the published code's.
ModelConfig segformer(const char* variant, const std::array<int, 4>& channels,
                      const std::array<int, 4>& blocks, int width) {
  return {.variant = variant,
          .encoder = {.kind = EncoderConfig::Kind::mit,
                      .channels = channels,
                      .blocks = blocks,
                      .ratios = {4, 4, 4, 4}},
          .decoder = {
              .kind = DecoderConfig::Kind::mlp, .stages = {1, 2, 3, 4}, .width = width, .ham = {}}};
}

}  // namespace

const std::vector<ModelConfig>& model_variants() {
  static const std::array<int, 4> wide = {64, 128, 320, 512};
  static const std::vector<ModelConfig> variants = {
      segnext("nano", {.channels = {16, 32, 64, 128}, .blocks = {1, 1, 2, 1}, .drop_path = 0.05},
              64, 8),
      segnext("tiny", {.channels = {32, 64, 160, 256}, .blocks = {3, 3, 5, 2}}, 256, 16),
      segnext("small", {.channels = wide, .blocks = {2, 2, 4, 2}}, 256, 16),
      segnext("base", {.channels = wide, .blocks = {3, 3, 12, 3}}, 512, 64),
      segnext("large", {.channels = wide, .blocks = {3, 5, 27, 3}, .drop_path = 0.3}, 1024, 64),
      segformer("b0", {32, 64, 160, 256}, {2, 2, 2, 2}, 256),
      segformer("b1", wide, {2, 2, 2, 2}, 256),
      segformer("b2", wide, {3, 4, 6, 3}, 768),
      segformer("b3", wide, {3, 4, 18, 3}, 768),
      segformer("b4", wide, {3, 8, 27, 3}, 768),
      segformer("b5", wide, {3, 6, 40, 3}, 768)};
  return variants;
}

std::vector<std::string> variant_names() {
  std::vector<std::string> names;
  for (const ModelConfig& c : model_variants()) names.push_back(c.variant);
  return names;
}

const char* family_of(const ModelConfig& config) {
  return config.encoder.kind == EncoderConfig::Kind::mit ? "SegFormer" : "SegNeXt";
}

std::vector<ParameterRule> segmenter_rules(double head_lr) {
  return {{.contains = "head", .lr_scale = head_lr}, {.contains = "norm", .decay_scale = 0}};
}

ModelConfig model_config(std::string_view variant, int num_classes) {
  if (num_classes < 1) fail_input("a model needs at least 1 class, not {}", num_classes);
  for (ModelConfig c : model_variants()) {
    const bool initial = variant.size() == 1 && c.variant != "nano" && c.variant[0] == variant[0];
    if (c.variant != variant && !initial) continue;
    c.num_classes = num_classes;
    return c;
  }
  fail_input("unknown variant '{}'; there are {}", variant, fmt::join(variant_names(), ", "));
}

Segmenter::Segmenter(const ModelConfig& config)
    : config_(config),
      encoder_(own(name_of(config.encoder.kind), make_encoder(config.encoder))),
      decoder_(own("decode_head",
                   make_decoder(config.decoder, config.encoder.channels, config.num_classes))),
      auxiliary_(config.auxiliary ? &child<FCNHead>("auxiliary_head", config.encoder.channels[2],
                                                    config.num_classes)
                                  : nullptr) {}

Segmenter::Output Segmenter::forward_stages(const Variable& image) const {
  std::vector<Variable> stages = encoder_.features(image);
  const Variable logits = decoder_.logits(stages);
  // Losses and scores are sums of many exponentials.
  const DType scores = parameter_dtype(logits.dtype());
  return {std::move(stages), cast(logits, scores)};
}

Variable Segmenter::loss(const Variable& logits, const Tensor& labels,
                         const CrossEntropyOptions& options) const {
  return upsample_cross_entropy(logits, labels, options);
}

Variable Segmenter::loss(const Output& output, const Tensor& labels,
                         const CrossEntropyOptions& options, double weight) const {
  const Variable main = loss(output.logits, labels, options);
  if (auxiliary_ == nullptr) return main;
  const Variable logits = (*auxiliary_)(output.stages[2]);
  return main + loss(cast(logits, main.dtype()), labels, options) * weight;
}

Tensor Segmenter::predict(const Variable& logits, std::int64_t height, std::int64_t width) const {
  return logits.backend().resize_argmax(logits.value().contiguous(), height, width);
}

void Segmenter::set_bases(Tensor bases) {
  const auto* decoder = dynamic_cast<const ContextDecoder*>(&decoder_);
  check(decoder != nullptr && decoder->hamburger() != nullptr, "set_bases: no Hamburger is there");
  decoder->hamburger()->ham().set_bases(std::move(bases));
}

std::string Segmenter::classifier() const {
  return fmt::format("decode_head.{}.", decoder_.classifier());
}

}  // namespace nextgrad
