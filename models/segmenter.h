// A model of semantic segmentation: an encoder and a decoder. Images [N,H,W,3], RGB, normalised;
// labels i32 [N,H,W].
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "autograd/loss.h"
#include "models/decoder.h"
#include "models/encoder.h"
#include "models/fcn_head.h"
#include "nn/optim.h"

namespace nextgrad {

struct ModelConfig {
  std::string variant = "tiny";
  EncoderConfig encoder;
  DecoderConfig decoder;
  int num_classes = 150;
  bool auxiliary = false;  // with an FCN head on stage 3, that helps in training
};

// What a variant is called and made of, for 150 classes: SegNeXt's nano (our own, for quick
// trials), tiny, small, base, large (Table 2 and 3 of the paper); SegFormer's b0 to b5.
const std::vector<ModelConfig>& model_variants();
std::vector<std::string> variant_names();
// One of them, or of t, s, b, l, for so many classes. Throws InputError for another name or fewer
// than 1 class.
ModelConfig model_config(std::string_view variant, int num_classes);
// Whose it is: "SegNeXt" or "SegFormer".
const char* family_of(const ModelConfig& config);
// How it is trained: `head` learns `head_lr` times as fast; `norm` outside the head does not decay.
std::vector<ParameterRule> segmenter_rules(double head_lr = 10);

class Segmenter : public Module {
 public:
  // Parameters are constants until init_parameters() or load_state_dict().
  explicit Segmenter(const ModelConfig& config);

  struct Output {
    std::vector<Variable> stages;  // the encoder's four
    Variable logits;               // [N,h,w,classes], at the size of the decoder's first stage
  };
  Output forward_stages(const Variable& image) const;
  // image [N,H,W,3], H and W at least 32 -> logits: SegNeXt's [N,ceil(H/8),ceil(W/8),classes],
  // SegFormer's at a quarter.
  Variable forward(Variable image) const override { return forward_stages(image).logits; }
  // Cross entropy of the logits upsampled to the labels' size (scalar).
  Variable loss(const Variable& logits, const Tensor& labels,
                const CrossEntropyOptions& options = {}) const;
  // That, and `weight` times that of the auxiliary head's, if there is one.
  Variable loss(const Output& output, const Tensor& labels, const CrossEntropyOptions& options,
                double weight) const;
  // Most likely class per pixel, i32 [N,height,width], of logits upsampled bilinearly.
  Tensor predict(const Variable& logits, std::int64_t height, std::int64_t width) const;
  // Initial bases of the NMF [N,width,rank] (tests); undefined: random by the rule.
  void set_bases(Tensor bases);
  const ModelConfig& config() const { return config_; }
  Encoder& encoder() const { return encoder_; }
  Decoder& decoder() const { return decoder_; }
  // What the last layer's tensors are called first: "decode_head.conv_seg."
  std::string classifier() const;

 private:
  ModelConfig config_;
  Encoder& encoder_;
  Decoder& decoder_;
  FCNHead* auxiliary_;  // or null
};

}  // namespace nextgrad
