// SegNeXt: "Rethinking convolutional attention design for semantic segmentation" (Guo et al.,
// NeurIPS 2022). Images [N,H,W,3], RGB, normalised; labels i32 [N,H,W].
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "autograd/loss.h"
#include "models/hamburger.h"
#include "models/mscan.h"
#include "nn/optim.h"

namespace nextgrad {

struct SegNeXtConfig {
  std::string variant = "tiny";
  MSCANConfig encoder;
  int decoder_channels = 256;
  int rank = 16;
  int num_classes = 150;
  double dropout = 0.1;  // channel dropout before the classifier
};

// tiny, small, base, large (or t, s, b, l; Table 2 and 3 of the paper) or nano, our own for quick
// trials. Throws InputError for another name or fewer than 1 class.
SegNeXtConfig segnext_config(std::string_view variant, int num_classes);
std::vector<std::string> segnext_variants();  // nano, tiny, small, base, large
// How it is trained: `head` learns `head_lr` times as fast; `norm` outside the head does not decay.
std::vector<ParameterRule> segnext_rules(double head_lr = 10);

class SegNeXt : public Module {
 public:
  // Parameters are constants until init_parameters() or load_state_dict().
  explicit SegNeXt(const SegNeXtConfig& config);

  struct Output {
    std::vector<Variable> stages;  // the encoder's four
    Variable logits;               // [N,ceil(H/8),ceil(W/8),classes]
  };
  Output forward_stages(const Variable& image) const;
  // image [N,H,W,3], H and W at least 32 -> logits [N,ceil(H/8),ceil(W/8),classes].
  Variable forward(Variable image) const override { return forward_stages(image).logits; }
  // Cross entropy of the logits upsampled to the labels' size (scalar).
  Variable loss(const Variable& logits, const Tensor& labels,
                const CrossEntropyOptions& options = {}) const;
  // Most likely class per pixel, i32 [N,height,width], of logits upsampled bilinearly.
  Tensor predict(const Variable& logits, std::int64_t height, std::int64_t width) const;
  // Initial bases of the NMF [N,decoder_channels,rank] (tests); undefined: random by the rule.
  void set_bases(Tensor bases) { head_.hamburger().ham().set_bases(std::move(bases)); }
  const SegNeXtConfig& config() const { return config_; }
  MSCAN& backbone() const { return backbone_; }

 private:
  SegNeXtConfig config_;
  MSCAN& backbone_;
  LightHamHead& head_;
};

}  // namespace nextgrad
