// SegFormer beyond the golden cases: derivatives of its parts, odd sizes, published sizes, names of
// others.
#include <doctest/doctest.h>

#include "autograd/arithmetic.h"
#include "autograd/reduce.h"
#include "models/classifier.h"
#include "models/mix_transformer.h"
#include "models/mlp_decoder.h"
#include "models/published_names.h"
#include "models/segmenter.h"
#include "nn/random.h"
#include "tensor/ops.h"
#include "tests/autograd/check.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

// Every tensor at random, so that nothing is hidden by a norm of weight 1 or a bias of 0.
void fill(Module& module, double spread = 0.5) {
  module.to(DType::f64);
  module.to(test_device());
  std::uint32_t use = 100;
  for (const Parameter& p : module.named_parameters()) {
    Tensor value = p.value.value();
    value.copy_(normal(value.shape(), ++use) * spread);
  }
}

// Derivatives by the input and by every parameter, a few elements of each.
void require_module(Module& module, const std::vector<Variable>& inputs,
                    const std::function<Variable(const std::vector<Variable>&)>& run) {
  std::vector<Variable> all = inputs;
  for (const Parameter& p : module.named_parameters()) all.push_back(p.value);
  const GradcheckResult r = gradcheck(run, all, true, 1e-5, 12);
  INFO(r.where);
  CHECK(r.worst < 1e-6);
}

// A MiT of little width that has all there is in one.
EncoderConfig little_mit() {
  return {.kind = EncoderConfig::Kind::mit,
          .channels = {4, 8, 10, 16},
          .blocks = {1, 2, 1, 1},
          .ratios = {2, 2, 2, 2},
          .drop_path = 0};
}
ModelConfig little_segformer(int classes = 3) {
  return {.variant = "b0",
          .encoder = little_mit(),
          .decoder = {.kind = DecoderConfig::Kind::mlp,
                      .stages = {1, 2, 3, 4},
                      .width = 32,
                      .dropout = 0,
                      .ham = {}},
          .num_classes = classes};
}

Tensor labels(const Shape& shape, int classes) {
  std::vector<std::int32_t> v(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<int>(i / 5) % classes;
  v[0] = 255;
  return Tensor::from(v, shape).to(test_device());
}

struct StepResult {
  double loss;
  std::vector<std::vector<double>> gradients;
};
StepResult step(const ModelConfig& config, const Shape& input, DType dtype = DType::f64) {
  Segmenter model(config);
  init_parameters(model, 1);
  model.to(dtype);
  model.to(test_device());
  const RandomScope scope(0, 0);
  const Variable loss = model.loss(model(Variable(normal(input, 1, dtype))),
                                   labels({input[0], input[1], input[2]}, config.num_classes));
  loss.backward();
  StepResult result{loss.item(), {}};
  for (const Parameter& p : model.named_parameters())
    result.gradients.push_back(p.value.grad().to_vector<double>());
  return result;
}

}  // namespace

TEST_CASE("SegFormer: derivatives of a block, with and without spatial reduction") {
  for (const int reduction : {1, 2}) {
    CAPTURE(reduction);
    TransformerBlock block(6, 3, reduction, 2, 0);
    fill(block);
    require_module(block, {leaf({2, 5, 4, 6}, 1)},
                   [&](const std::vector<Variable>& in) { return block(in[0]); });
  }
}

TEST_CASE("SegFormer: derivatives of the MLP decoder, odd sizes, in training and evaluation") {
  for (const bool training : {true, false}) {
    CAPTURE(training);
    MLPDecoder decoder({.kind = DecoderConfig::Kind::mlp,
                        .stages = {1, 2, 4},
                        .width = 3,
                        .dropout = 0,
                        .ham = {}},
                       {2, 3, 4, 5}, 4);
    fill(decoder);
    decoder.train(training);
    const Variable skipped = leaf({2, 1, 1, 4}, 9);
    require_module(decoder, {leaf({2, 7, 5, 2}, 1), leaf({2, 4, 3, 3}, 2), leaf({2, 1, 1, 5}, 3)},
                   [&](const std::vector<Variable>& in) {
                     return decoder.logits({in[0], in[1], skipped, in[2]});
                   });
  }
}

TEST_CASE("SegFormer: a block drops its branches per image, and evaluation none") {
  TransformerBlock block(8, 2, 2, 2, 0.5);
  fill(block);
  const Variable x = leaf({16, 4, 4, 8}, 1);
  const NoGrad off;
  const RandomScope scope(3, 1);
  const Tensor trained = block(x).value();
  block.eval();
  const Tensor whole = block(x).value();
  int same = 0, full = 0;
  for (std::int64_t n = 0; n < 16; ++n) {
    const auto image = [n](const Tensor& t) { return t.slice(0, n, n + 1).to_vector<double>(); };
    same += image(trained) == image(x.value());
    full += difference(image(trained), image(whole)) < 1e-12;
  }
  CHECK(same > 0);  // both branches dropped: a quarter of them
  CHECK(same < 12);
  CHECK(full == 0);  // what is kept counts double
  CHECK(difference(block(x).value(), whole) == 0);
}

TEST_CASE("SegFormer: drop path grows linearly over all blocks") {
  const auto encoder = make_encoder(model_config("b1", 3).encoder);
  std::vector<double> rates;
  for (const auto& [name, module] : encoder->named_modules())
    if (const auto* path = dynamic_cast<const DropPath*>(module)) rates.push_back(path->p());
  REQUIRE(rates.size() == 8);
  for (std::size_t i = 0; i < 8; ++i)
    CHECK(rates[i] == doctest::Approx(0.1 * static_cast<double>(i) / 7));
}

TEST_CASE("SegFormer: sizes of features and logits") {
  Segmenter model(little_segformer(7));
  init_parameters(model, 1);
  model.to(test_device());
  const auto out = model.forward_stages(Variable(normal({2, 33, 47, 3}, 1, DType::f32)));
  CHECK(out.stages[0].shape() == Shape{2, 9, 12, 4});
  CHECK(out.stages[1].shape() == Shape{2, 5, 6, 8});
  CHECK(out.stages[2].shape() == Shape{2, 3, 3, 10});
  CHECK(out.stages[3].shape() == Shape{2, 2, 2, 16});
  CHECK(out.logits.shape() == Shape{2, 9, 12, 7});
  CHECK(model(Variable(normal({2, 32, 32, 3}, 1, DType::f32))).shape() == Shape{2, 8, 8, 7});
}

TEST_CASE("SegFormer: recomputation changes no number") {
  ModelConfig config = little_segformer(4);
  config.encoder.drop_path = 0.5;
  config.decoder.dropout = 0.3;
  const StepResult kept = step(config, {3, 41, 64, 3});
  config.encoder.recompute = true;
  const StepResult again = step(config, {3, 41, 64, 3});
  CHECK(kept.loss == again.loss);
  CHECK(kept.gradients == again.gradients);
}

TEST_CASE("SegFormer: a prediction does not depend on the other images of its batch") {
  Segmenter model(little_segformer());
  init_parameters(model, 2);
  model.to(DType::f64);
  model.to(test_device());
  model.eval();
  const NoGrad guard;
  const Tensor both = normal({2, 40, 56, 3}, 1);
  const Tensor logits = model(Variable(both)).value().slice(0, 1, 2);
  CHECK(difference(model(Variable(both.slice(0, 1, 2).contiguous())).value(), logits) < 1e-12);
}

TEST_CASE("SegFormer: as many parameters as published") {
  for (const auto& [variant, millions] : {std::pair("b0", 3.8),
                                          {"b1", 13.7},
                                          {"b2", 27.5},
                                          {"b3", 47.3},
                                          {"b4", 64.1},
                                          {"b5", 84.7}}) {
    CAPTURE(variant);
    const auto count = static_cast<double>(Segmenter(model_config(variant, 150)).parameter_count());
    CHECK(std::abs(count / 1e6 - millions) < 0.06);
  }
  CHECK(family_of(model_config("b0", 1)) == std::string("SegFormer"));
}

TEST_CASE("SegFormer: what is refused") {
  const auto refused = [](auto change) {
    EncoderConfig c = model_config("b0", 1).encoder;
    change(c);
    CHECK_THROWS_AS(make_encoder(c), InputError);
  };
  refused([](EncoderConfig& c) { c.attention = EncoderConfig::Attention::lka; });
  refused([](EncoderConfig& c) { c.gate = EncoderConfig::Gate::none; });
  refused([](EncoderConfig& c) { c.mixing = false; });
  refused([](EncoderConfig& c) { c.branches = {7}; });
  refused([](EncoderConfig& c) { c.channels[2] = 161; });
}

TEST_CASE("SegFormer's decoder on MSCAN, Figure 3(a)") {
  ModelConfig config = model_config("nano", 4);
  config.decoder = little_segformer().decoder;
  const StepResult r = step(config, {2, 33, 47, 3}, DType::f32);
  CHECK(r.loss == doctest::Approx(std::log(4)).epsilon(0.5));
  const Segmenter model(config);
  CHECK(model.classifier() == "decode_head.classifier.");
  CHECK(model.named_parameters().back().name == "decode_head.classifier.bias");
}

namespace {

// Ours, and what others call it.
struct Names {
  const char *ours, *transformers4, *nvlabs;
};
const Names kNames[] = {
    {"segformer.stages.0.patch_embeddings.proj.weight",
     "segformer.encoder.patch_embeddings.0.proj.weight", "backbone.patch_embed1.proj.weight"},
    {"segformer.stages.1.patch_embeddings.layer_norm.bias",
     "segformer.encoder.patch_embeddings.1.layer_norm.bias", "backbone.patch_embed2.norm.bias"},
    {"segformer.stages.2.blocks.10.layernorm_before.weight",
     "segformer.encoder.block.2.10.layer_norm_1.weight", "backbone.block3.10.norm1.weight"},
    {"segformer.stages.0.blocks.1.layernorm_after.weight",
     "segformer.encoder.block.0.1.layer_norm_2.weight", "backbone.block1.1.norm2.weight"},
    {"segformer.stages.0.blocks.0.attention.q_proj.weight",
     "segformer.encoder.block.0.0.attention.self.query.weight", "backbone.block1.0.attn.q.weight"},
    {"segformer.stages.0.blocks.0.attention.k_proj.weight",
     "segformer.encoder.block.0.0.attention.self.key.weight", nullptr},
    {"segformer.stages.0.blocks.0.attention.v_proj.weight",
     "segformer.encoder.block.0.0.attention.self.value.weight", nullptr},
    {"segformer.stages.0.blocks.0.attention.o_proj.bias",
     "segformer.encoder.block.0.0.attention.output.dense.bias", "backbone.block1.0.attn.proj.bias"},
    {"segformer.stages.0.blocks.0.attention.sequence_reduction.sequence_reduction.weight",
     "segformer.encoder.block.0.0.attention.self.sr.weight", "backbone.block1.0.attn.sr.weight"},
    {"segformer.stages.0.blocks.0.attention.sequence_reduction.layer_norm.weight",
     "segformer.encoder.block.0.0.attention.self.layer_norm.weight",
     "backbone.block1.0.attn.norm.weight"},
    {"segformer.stages.3.blocks.0.mlp.fc1.weight", "segformer.encoder.block.3.0.mlp.dense1.weight",
     "backbone.block4.0.mlp.fc1.weight"},
    {"segformer.stages.3.blocks.0.mlp.dwconv.dwconv.weight",
     "segformer.encoder.block.3.0.mlp.dwconv.dwconv.weight",
     "backbone.block4.0.mlp.dwconv.dwconv.weight"},
    {"segformer.stages.3.blocks.0.mlp.fc2.bias", "segformer.encoder.block.3.0.mlp.dense2.bias",
     "backbone.block4.0.mlp.fc2.bias"},
    {"segformer.stages.3.layer_norm.weight", "segformer.encoder.layer_norm.3.weight",
     "backbone.norm4.weight"},
    {"decode_head.linear_projections.3.proj.weight", "decode_head.linear_c.3.proj.weight",
     "decode_head.linear_c4.proj.weight"},
    {"decode_head.linear_fuse.weight", "decode_head.linear_fuse.weight",
     "decode_head.linear_fuse.conv.weight"},
    {"decode_head.batch_norm.running_var", "decode_head.batch_norm.running_var",
     "decode_head.linear_fuse.bn.running_var"},
    {"decode_head.classifier.bias", "decode_head.classifier.bias", "decode_head.linear_pred.bias"}};

std::vector<std::string> names_of(const StateDict& tensors) {
  std::vector<std::string> names;
  for (const NamedTensor& t : tensors) names.push_back(t.name);
  return names;
}

std::string cut(const std::string& name, const std::string& prefix) {
  return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

}  // namespace

TEST_CASE("SegFormer's names: ours, transformers 4's, NVlabs', with any prefix or as an encoder") {
  const Tensor t = Tensor::zeros({1});
  for (const std::string before : {"", "module.", "model."}) {
    CAPTURE(before);
    StateDict ours, theirs, nvlabs;
    std::vector<std::string> wanted, wanted_nvlabs;
    for (const Names& n : kNames) {
      ours.push_back({before + n.ours, t});
      theirs.push_back({before + n.transformers4, t});
      wanted.push_back(n.ours);
      if (n.nvlabs == nullptr) continue;
      nvlabs.push_back({before + n.nvlabs, t});
      wanted_nvlabs.push_back(n.ours);
    }
    CHECK(names_of(adapt_published_names(ours)) == wanted);
    CHECK(names_of(adapt_published_names(theirs)) == wanted);
    CHECK(names_of(adapt_published_names(nvlabs)) == wanted_nvlabs);
  }
  // The encoder alone, without or with what a model calls it; its ImageNet classifier.
  for (const bool bare : {true, false}) {
    StateDict files[3];
    std::vector<std::string> wanted;
    const char* heads[] = {"head.weight", "classifier.weight", "head.weight"};
    for (const Names& n : kNames) {
      if (n.nvlabs == nullptr || std::string(n.ours).starts_with("decode_head.")) continue;
      files[0].push_back({bare ? cut(n.ours, "segformer.") : n.ours, t});
      files[1].push_back({bare ? cut(n.transformers4, "segformer.") : n.transformers4, t});
      files[2].push_back({bare ? cut(n.nvlabs, "backbone.") : n.nvlabs, t});
      wanted.push_back(n.ours);
    }
    for (std::size_t i = 0; i < 3; ++i) {
      CAPTURE(i);
      files[i].push_back({heads[i], t});
      std::vector<std::string> left_out;
      CHECK(names_of(adapt_published_names(files[i], &left_out)) == wanted);
      CHECK(left_out == std::vector<std::string>{"head.weight"});
      auto of_classifier = wanted;
      for (std::string& name : of_classifier) name = cut(name, "segformer.");
      of_classifier.push_back("head.weight");
      CHECK(names_of(adapt_encoder_names(files[i])) == of_classifier);
    }
  }
}

TEST_CASE("SegFormer's names: keys and values are split; what nothing uses is left out") {
  const Tensor kv = Tensor::from(std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8}, {4, 2});
  const Tensor bias = Tensor::from(std::vector<double>{1, 2, 3, 4}, {4});
  std::vector<std::string> left_out;
  const StateDict split = adapt_published_names({{"backbone.block2.3.attn.q.weight", bias},
                                                 {"backbone.block2.3.attn.kv.weight", kv},
                                                 {"backbone.block2.3.attn.kv.bias", bias},
                                                 {"decode_head.conv_seg.weight", bias}},
                                                &left_out);
  REQUIRE(split.size() == 5);
  const std::string attention = "segformer.stages.1.blocks.3.attention.";
  CHECK(split[1].name == attention + "k_proj.weight");
  CHECK(split[1].value.to_vector<double>() == std::vector<double>{1, 2, 3, 4});
  CHECK(split[2].name == attention + "v_proj.weight");
  CHECK(split[2].value.to_vector<double>() == std::vector<double>{5, 6, 7, 8});
  CHECK(split[3].name == attention + "k_proj.bias");
  CHECK(split[4].name == attention + "v_proj.bias");
  CHECK(split[4].value.to_vector<double>() == std::vector<double>{3, 4});
  CHECK(left_out == std::vector<std::string>{"decode_head.conv_seg.weight"});
  // SegNeXt's files are untouched: names that both have mean there what they say.
  CHECK(names_of(adapt_published_names({{"backbone.block1.0.norm1.weight", bias}})) ==
        std::vector<std::string>{"backbone.block1.0.norm1.weight"});
}

TEST_CASE("SegFormer: the variant is read from the shapes; an ImageNet classifier starts a model") {
  for (const std::string variant : {"b0", "b1", "b2", "b3"}) {
    StateDict weights = state_dict(Segmenter(model_config(variant, 7)));
    Architecture a = architecture_of(weights);
    CHECK(a.variant == variant);
    CHECK(a.classes == 7);
    std::erase_if(weights, [](const NamedTensor& t) { return t.name.starts_with("decode_head"); });
    a = architecture_of(weights);
    CHECK(a.variant == variant);
    CHECK(a.classes == 0);
  }
  Classifier classifier(little_mit(), 10);
  init_parameters(classifier, 1);
  CHECK(classifier.named_parameters().back().name == "head.bias");
  CHECK(classifier(Variable(normal({2, 64, 48, 3}, 1, DType::f32).to(Device{}))).shape() ==
        Shape{2, 10});
  Segmenter model(little_segformer());
  const LoadReport report =
      load_state_dict(model, adapt_published_names(state_dict(classifier)), false);
  CHECK(report.unexpected.empty());
  CHECK(report.matched.size() == classifier.named_parameters().size() - 2);
  for (const std::string& name : report.missing) CHECK(name.starts_with("decode_head."));
}
