// Weights of every origin through the binary: what loads, what is said of it, what is refused.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>

#include "apps/inference/checkpoint.h"
#include "data/weights/weights_file.h"
#include "models/classifier.h"
#include "models/published_names.h"
#include "models/segmenter.h"
#include "tests/apps/little_data.h"
#include "tests/apps/program.h"

using namespace nextgrad;

namespace {

const std::string kEval = "eval --data folder --data-root data.toml --weights ";
const std::string kTrainAny =
    "train --data folder --data-root data.toml --crop 32 --batch 2 --iterations 1 "
    "--pictures 0 --out run --overwrite ";
const std::string kTrain = kTrainAny + "--variant nano ";

void write_pth(const std::string& path, const StateDict& tensors, const Metadata& metadata = {}) {
  std::vector<ElementType> types;
  for (const auto& t : tensors) types.push_back(element_type(t.value.dtype()));
  write_torch_file(path, tensors, types, metadata);
}

StateDict renamed(StateDict tensors, const std::function<std::string(const std::string&)>& name) {
  for (auto& t : tensors) t.name = name(t.name);
  return tensors;
}

StateDict selected(const StateDict& tensors,
                   const std::function<bool(const std::string&)>& wanted) {
  StateDict some;
  for (const auto& t : tensors)
    if (wanted(t.name)) some.push_back(t);
  return some;
}

StateDict weights_of(const std::string& variant, int classes) {
  Segmenter model(model_config(variant, classes));
  init_parameters(model, 1);
  return state_dict(model);
}

StateDict imagenet_weights(const std::string& variant) {
  Classifier model(model_config(variant, 1).encoder, 10);
  init_parameters(model, 2);
  return state_dict(model);
}

// A SegFormer, or its encoder alone, as NVlabs published them: keys and values are one tensor, and
// a layer lies there that nothing uses.
StateDict as_nvlabs(const StateDict& ours) {
  std::vector<std::pair<std::string, std::string>> spelt = {
      {"segformer.", "backbone."},
      {"layernorm_before", "norm1"},
      {"layernorm_after", "norm2"},
      {"attention.q_proj", "attn.q"},
      {"attention.k_proj", "attn.kv"},
      {"attention.o_proj", "attn.proj"},
      {"attention.sequence_reduction.sequence_reduction", "attn.sr"},
      {"attention.sequence_reduction.layer_norm", "attn.norm"},
      {"patch_embeddings.layer_norm", "patch_embeddings.norm"},
      {"linear_fuse", "linear_fuse.conv"},
      {"batch_norm", "linear_fuse.bn"},
      {"decode_head.classifier", "decode_head.linear_pred"}};
  for (int i = 0; i < 4; ++i) {
    const std::string stage = fmt::format("stages.{}.", i);
    spelt.emplace_back(stage + "patch_embeddings", fmt::format("patch_embed{}", i + 1));
    spelt.emplace_back(stage + "blocks", fmt::format("block{}", i + 1));
    spelt.emplace_back(stage + "layer_norm", fmt::format("norm{}", i + 1));
    spelt.emplace_back(fmt::format("linear_projections.{}.", i), fmt::format("linear_c{}.", i + 1));
  }
  StateDict theirs;
  for (const auto& [name, value] : ours) {
    std::string called = name;
    for (const auto& [from, to] : spelt)
      if (const auto at = called.find(from); at != std::string::npos)
        called.replace(at, from.size(), to);
    if (name.find("v_proj") != std::string::npos) continue;
    if (const auto at = name.find("k_proj"); at != std::string::npos) {
      const std::string of_values = std::string(name).replace(at, 6, "v_proj");
      auto numbers = value.to_vector<float>();
      for (const auto& t : ours)
        if (t.name == of_values)
          for (const float v : t.value.to_vector<float>()) numbers.push_back(v);
      Shape shape = value.shape();
      shape[0] *= 2;
      theirs.push_back({called, Tensor::from(numbers, shape)});
    } else {
      theirs.push_back({called, value});
    }
  }
  if (theirs.front().name.starts_with("backbone."))
    theirs.push_back({"decode_head.conv_seg.weight", Tensor::zeros({3, 128, 1, 1})});
  return theirs;
}

bool is_counter(const std::string& name) {
  return name.ends_with("num_batches_tracked");
}

struct Fixture {
  Fixture() { make_little_data(folder); }
  void check_refused(const std::string& arguments, const std::string& part) const {
    CAPTURE(arguments);
    const auto o = segnext(folder, arguments);
    CAPTURE(o.err);
    CHECK(o.code == 2);
    CHECK(lines_of(o.err) == 1);
    CHECK(o.err.find(part) != std::string::npos);
  }
  std::string output(const std::string& arguments) const {
    const auto o = segnext(folder, arguments);
    CAPTURE(o.err);
    CHECK(o.code == 0);
    return o.out;
  }
  TemporaryFolder folder;
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE_FIXTURE(Fixture, "eval: others' .pth needs no --variant, under any of the names") {
  const StateDict weights = weights_of("nano", 3);
  write_pth(folder / "plain.pth", weights);
  const std::string out = output(kEval + "plain.pth --json plain.json");
  CHECK(has(out, "plain.pth: PyTorch zip, "));
  CHECK(has(out, "under state_dict, variant nano\n"));
  CHECK(has(out, "\nmissing: none\nunexpected: none\nmis-shaped: none\n"));
  CHECK(has(out, fmt::format("\nmatched: {0} of {0} tensors\n", weights.size())));
  CHECK(has(out, "blob"));  // the data set's name: the weights have none
  // Distributed training, MMSegmentation 1.x's names, no counters, under another suffix.
  write_pth(folder / "odd.bin",
            renamed(selected(weights, [](const auto& n) { return !is_counter(n); }),
                    [](const auto& n) { return "module." + mmseg1_name(n); }),
            {{"classes", R"(["left","right","blob"])"}});
  const std::string odd = output(kEval + "odd.bin --variant nano --json odd.json");
  CHECK(has(odd, "\nmissing: none (and "));
  CHECK(has(odd, "blob"));
  const auto scores = [&](const char* file) {
    const auto json = nlohmann::json::parse(slurp(folder / file));
    return json.at("mIoU");
  };
  CHECK(scores("plain.json") == scores("odd.json"));
  check_refused(kEval + "plain.pth --variant base", "holds variant nano");
}

TEST_CASE_FIXTURE(Fixture, "eval: weights that do not fit") {
  write_pth(folder / "encoder.pth", imagenet_weights("nano"));
  check_refused(kEval + "encoder.pth", "an encoder alone");
  StateDict weights = weights_of("nano", 3);
  weights.erase(weights.begin());
  write_pth(folder / "short.pth", weights);
  check_refused(kEval + "short.pth", "another model than nano");
  for (auto& t : weights) t.name = "x." + t.name;
  write_pth(folder / "strange.pth", weights);
  check_refused(kEval + "strange.pth", "another model than nano");
  write_pth(folder / "four.pth", weights_of("nano", 4));
  check_refused(kEval + "four.pth", "4 classes");
}

TEST_CASE_FIXTURE(Fixture, "train: an ImageNet encoder, said what was left out") {
  const StateDict encoder = imagenet_weights("nano");
  write_pth(folder / "mscan.pth", encoder);
  const std::string out = output(kTrain + "--pretrained mscan.pth");
  CHECK(has(out, "pretrained "));
  CHECK(has(out, fmt::format("matched: {} of ", encoder.size() - 2)));
  CHECK(has(out, "missing: 1"));  // the decoder's
  CHECK(has(out, "unexpected: none"));
  CHECK(has(out, "left out: 2: head.weight, head.bias"));
  // Nine tenths of the encoder must match.
  std::size_t kept = 0;
  write_pth(folder / "half.pth", selected(encoder, [&](const auto&) { return ++kept % 2 == 0; }));
  check_refused(kTrain + "--pretrained half.pth", "encoder's");
  write_pth(folder / "tiny.pth", imagenet_weights("tiny"));
  check_refused(kTrain + "--pretrained tiny.pth", "the file is variant tiny");
  // small's encoder is a part of base's: all of it would match.
  write_pth(folder / "base.pth", imagenet_weights("base"));
  check_refused(
      "train --data folder --data-root data.toml --variant small --iterations 1 "
      "--crop 32 --batch 1 --pretrained base.pth",
      "the file is variant base");
}

TEST_CASE_FIXTURE(Fixture, "SegFormer: weights as NVlabs published them, and of the wrong kind") {
  const StateDict weights = weights_of("b0", 3), theirs = as_nvlabs(weights);
  write_pth(folder / "ours.pth", weights);
  write_pth(folder / "theirs.pth", theirs);
  const std::string out = output(kEval + "theirs.pth --json theirs.json");
  CHECK(has(out, "variant b0\n"));
  CHECK(has(out, fmt::format("\nmatched: {0} of {0} tensors\n", weights.size())));
  CHECK(has(out, "\nmissing: none\nunexpected: none\nmis-shaped: none\n"));
  output(kEval + "ours.pth --json ours.json");
  const auto scores = [&](const char* file) {
    return nlohmann::json::parse(slurp(folder / file)).at("mIoU");
  };
  CHECK(scores("ours.json") == scores("theirs.json"));
  CHECK(has(output("info theirs.pth"), "fits: SegFormer b0, 3 classes"));
  StateDict short_of = theirs;
  std::erase_if(short_of, [](const auto& t) { return t.name == "backbone.block2.1.attn.kv.bias"; });
  write_pth(folder / "short.pth", short_of);
  check_refused(kEval + "short.pth", "segformer.stages.1.blocks.1.attention.k_proj.bias");
  // The ImageNet encoder starts a training, whose classifier is left out; SegNeXt refuses it.
  write_pth(folder / "mit.pth", as_nvlabs(imagenet_weights("b0")));
  const std::string train = kTrainAny + "--variant b0 --pretrained ";
  const std::string trained = output(train + "mit.pth");
  CHECK(has(trained, fmt::format("matched: {} of ", imagenet_weights("b0").size() - 2)));
  CHECK(has(trained, "unexpected: none"));
  CHECK(has(trained, "left out: 2: head.weight, head.bias"));
  check_refused(kEval + "mit.pth", "an encoder alone");
  check_refused(kTrain + "--pretrained mit.pth", "the file is variant b0");
  check_refused(train + "ours.pth --encoder.gate none", "encoder.gate");
  // Other classes.
  write_pth(folder / "seven.pth", as_nvlabs(weights_of("b0", 7)));
  check_refused(train + "seven.pth", "--reset-classifier");
  CHECK(has(output(train + "seven.pth --reset-classifier"),
            "missing: 2: decode_head.classifier.weight, decode_head.classifier.bias"));
  CHECK_NOTHROW(load_classifier(folder / "mit.pth", "", {}));
}

TEST_CASE_FIXTURE(Fixture, "train: a classifier of other classes only with --reset-classifier") {
  write_pth(folder / "seven.pth", weights_of("nano", 7));
  check_refused(kTrain + "--pretrained seven.pth", "--reset-classifier");
  const std::string out = output(kTrain + "--pretrained seven.pth --reset-classifier");
  CHECK(has(out, "missing: 2: decode_head.conv_seg.weight, decode_head.conv_seg.bias"));
  CHECK(has(out, "left out: 2: decode_head.conv_seg.weight"));
  CHECK(has(out, "mis-shaped: none"));
  write_pth(folder / "three.pth", weights_of("nano", 3));
  CHECK(has(output(kTrain + "--pretrained three.pth"), "missing: none"));
}

TEST_CASE_FIXTURE(Fixture, "pretrained weights of the ImageNet model") {
  const std::string path = folder / "mscan.pth";
  write_pth(path, imagenet_weights("nano"));
  Classifier same(model_config("nano", 1).encoder, 10), other(model_config("nano", 1).encoder, 4);
  const std::string all = load_pretrained(same, path);
  CHECK(has(all, "missing: none\nunexpected: none\nmis-shaped: none"));
  CHECK(state_dict(same).front().value.to_vector<float>() ==
        imagenet_weights("nano").front().value.to_vector<float>());
  CHECK_THROWS_AS(load_pretrained(other, path), InputError);
  CHECK(has(load_pretrained(other, path, true), "left out: 2: head.weight, head.bias"));
  // From a whole segmentation model, prefixed: the encoder alone.
  write_pth(path, weights_of("nano", 3));
  const std::string encoder = load_pretrained(other, path);
  CHECK(has(encoder, "missing: 2: head.weight, head.bias"));
  CHECK(has(encoder, "left out: 1"));  // the decoder's
}

TEST_CASE_FIXTURE(Fixture, "convert: there and back, with the metadata") {
  output(kTrain);
  const std::string first = folder / "run/last.safetensors";
  output("convert run/last.safetensors a.pth");
  output("convert a.pth b.safetensors");
  const WeightsFile before = read_weights(first), after = read_weights(folder / "b.safetensors");
  CHECK(before.metadata == after.metadata);
  CHECK(before.metadata.count("palette") == 1);
  CHECK(before.types == after.types);
  REQUIRE(before.tensors.size() == after.tensors.size());
  for (std::size_t i = 0; i < before.tensors.size(); ++i) {
    CHECK(before.tensors[i].name == after.tensors[i].name);
    CHECK(before.tensors[i].value.to_vector<double>() ==
          after.tensors[i].value.to_vector<double>());
  }
  CHECK(slurp(first) == slurp(folder / "b.safetensors"));
  CHECK(has(output(kEval + "a.pth"), "blob"));
  // Half precision, other names, the encoder alone.
  CHECK(has(output("convert a.pth h.safetensors --half --names mmseg1"), "wrote h.safetensors"));
  const std::string listed = output("info h.safetensors");
  CHECK(has(listed, "mlp.dwconv.weight"));
  CHECK_FALSE(has(listed, "dwconv.dwconv"));
  CHECK(has(listed, " f16 "));
  CHECK(has(listed, " i64 "));
  CHECK(has(listed, "fits: SegNeXt nano, 3 classes"));
  output("convert h.safetensors e.pth --names published --encoder-only --dtype f32");
  const std::string encoder = output("info e.pth");
  CHECK(has(encoder, "\nblock1.0.mlp.dwconv.dwconv.weight"));
  CHECK_FALSE(has(encoder, "decode_head"));
  CHECK_FALSE(has(encoder, "metadata classes"));
  CHECK(has(encoder, "fits: the encoder of nano"));
  CHECK(has(output(kTrain + "--pretrained e.pth"), "unexpected: none"));
}

TEST_CASE_FIXTURE(Fixture, "weights whose numbers are of no use are named everywhere") {
  const auto spoiled = [](StateDict tensors, const std::string& name, float value) {
    for (auto& t : tensors)
      if (t.name == name) {
        auto values = t.value.to_vector<float>();
        values.back() = value;
        t.value = Tensor::from(values, t.value.shape());
      }
    return tensors;
  };
  const std::string bias = "decode_head.conv_seg.bias",
                    variance = "backbone.block1.0.norm1.running_var";
  struct Case {
    std::string name;
    float value;
  };
  for (const auto& [name, value] : {Case{bias, NAN}, Case{bias, INFINITY}, Case{variance, -1}}) {
    write_pth(folder / "bad.pth", spoiled(weights_of("nano", 3), name, value));
    check_refused(kEval + "bad.pth", name);
    check_refused("predict --weights bad.pth images/val --output seen", name);
    check_refused(kTrain + "--pretrained bad.pth", name);
    check_refused("convert bad.pth bad.safetensors", name);
    const std::string listed = output("info bad.pth");
    CHECK(has(listed, "unusable: tensor \"" + name + "\" holds 1 "));
  }
  CHECK_FALSE(fs::exists(folder / "seen"));
  CHECK_FALSE(fs::exists(folder / "bad.safetensors"));
  // The classifier of pictures; what the model has no place for does not matter.
  StateDict encoder = imagenet_weights("nano");
  encoder.push_back({"criterion.weight", Tensor::full({3}, NAN)});
  Classifier model(model_config("nano", 1).encoder, 10);
  write_pth(folder / "good.pth", encoder);
  CHECK_NOTHROW(load_pretrained(model, folder / "good.pth"));
  CHECK_NOTHROW(load_classifier(folder / "good.pth", "", {}));
  write_pth(folder / "bad.pth", spoiled(encoder, "block1.0.norm1.running_var", -1));
  CHECK_THROWS_AS(load_pretrained(model, folder / "bad.pth"), InputError);
  CHECK_THROWS_AS(load_classifier(folder / "bad.pth", "", {}), InputError);
  const Metadata nameless{{"variant", "nano"}, {"size", "96"}};  // as segnext never writes it
  write_safetensors(folder / "nameless", imagenet_weights("nano"), nameless);
  CHECK_THROWS_AS(load_classifier(folder / "nameless", "", {}), InputError);
  // What half precision cannot hold is not made infinite.
  write_pth(folder / "large.pth", spoiled(weights_of("nano", 3), bias, 70000));
  check_refused("convert large.pth half.safetensors --half", bias);
  CHECK_FALSE(fs::exists(folder / "half.safetensors"));
  output("convert large.pth half.safetensors --dtype bf16");
}

TEST_CASE_FIXTURE(Fixture, "complete weights with more beside them are taken, the rest is named") {
  const StateDict weights = weights_of("nano", 3);
  StateDict more = weights;
  for (const auto& t : weights) {
    std::string name = "ema_" + t.name;
    std::replace(name.begin(), name.end(), '.', '_');
    more.push_back({name, t.value});
    if (!is_counter(t.name))  // a profiler's, in every module
      more.push_back({t.name + ".total_ops", Tensor::zeros({1}, DType::f64)});
  }
  more.push_back({"decode_head.loss_decode.class_weight", Tensor::zeros({3})});
  write_pth(folder / "more.pth", more);
  const std::string out = output(kEval + "more.pth");
  CHECK(has(out, "\nmissing: none\n"));
  CHECK(has(out, "ema_backbone_"));
  CHECK(has(output(kTrain + "--pretrained more.pth"), "missing: none"));
  StateDict encoder = imagenet_weights("nano");
  for (std::size_t n = encoder.size(), i = 0; i < n; ++i)
    encoder.push_back({"ema_" + encoder[i].name, encoder[i].value});
  write_pth(folder / "encoder.pth", encoder);
  CHECK_NOTHROW(load_classifier(folder / "encoder.pth", "", {}));
  CHECK(has(output(kTrain + "--pretrained encoder.pth"), "unexpected: "));
  // A larger model is another one.
  for (const auto& t : weights)
    if (t.name.starts_with("backbone.block4.0."))
      more.push_back({"backbone.block4.7." + t.name.substr(18), t.value});
  for (const auto& t : weights)
    if (t.name.starts_with("backbone.block3.0."))
      more.push_back({"backbone.block3.extra." + t.name.substr(18), t.value});
  write_pth(folder / "larger.pth", more);
  check_refused(kEval + "larger.pth --variant nano", "another model");
}

TEST_CASE_FIXTURE(Fixture, "a prefix before every name is taken off and named") {
  const StateDict weights = weights_of("nano", 3), encoder = imagenet_weights("nano");
  for (const std::string prefix : {"model.", "_orig_mod.module.", "net.inner."}) {
    write_pth(folder / "p.pth", renamed(weights, [&](const auto& n) { return prefix + n; }));
    const std::string out = output(kEval + "p.pth");
    CHECK(has(out, "\nprefix " + prefix + " taken off"));
    CHECK(has(out, "unexpected: none"));
    CHECK(has(output(kTrain + "--pretrained p.pth"), "prefix " + prefix));
    CHECK(has(output("info p.pth"), "fits: SegNeXt nano, 3 classes"));
    write_pth(folder / "e.pth", renamed(encoder, [&](const auto& n) { return prefix + n; }));
    CHECK_NOTHROW(load_classifier(folder / "e.pth", "", {}));
    CHECK(has(output(kTrain + "--pretrained e.pth"), "prefix " + prefix));
    output("convert p.pth c.pth --encoder-only --overwrite");
    CHECK(has(output("info c.pth"), "\nblock1.0.norm1.weight"));
  }
}

TEST_CASE_FIXTURE(Fixture, "weights of other classes, or of another order, are not scored") {
  write_pth(folder / "w.pth", weights_of("nano", 3), {{"classes", R"(["right","left","blob"])"}});
  const std::string remedy = "--any-classes";
  check_refused(kEval + "w.pth", remedy);
  check_refused(kEval + "w.pth", "class 0 is \"right\", in the data set \"left\"");
  CHECK(has(output(kEval + "w.pth --any-classes"), "right"));
  const std::string predict =
      "predict --weights w.pth --data folder --data-root data.toml --output seen ";
  check_refused(predict, remedy);
  CHECK_FALSE(fs::exists(folder / "seen"));
  output(predict + "--any-classes");
  output("predict --weights w.pth images/val --output alone");  // nothing to differ from
  check_refused(kTrain + "--pretrained w.pth", "--reset-classifier");
  output(kTrain + "--pretrained w.pth --reset-classifier");
  // Case, spaces and signs are no other names.
  write_pth(folder / "w.pth", weights_of("nano", 3), {{"classes", R"(["Left","right ","blob"])"}});
  output(kEval + "w.pth");
  // The classifier of pictures.
  Classifier model(model_config("nano", 1).encoder, 2);
  ModelInfo info;
  info.model.variant = "nano";
  info.classes = {"cat", "dog"};
  info.size = 32;
  save_weights(folder / "c.safetensors", model, info);
  CHECK_NOTHROW(load_pretrained(model, folder / "c.safetensors", false, {"cat", "dog"}));
  CHECK_THROWS_AS(load_pretrained(model, folder / "c.safetensors", false, {"dog", "cat"}),
                  InputError);
  CHECK_NOTHROW(load_pretrained(model, folder / "c.safetensors", true, {"dog", "cat"}));
}

TEST_CASE_FIXTURE(Fixture, "a run's folder means its best weights") {
  output(kTrain);
  const std::vector<std::string> commands{
      kEval + "run", "predict --weights run images/val --output seen", "convert run a.pth",
      "info run",
      "train --data folder --data-root data.toml --variant nano --crop 32 --batch 2 "
      "--iterations 1 --pictures 0 --out next --pretrained run"};
  for (const std::string& command : commands)
    CHECK(has(output(command), "run/best.safetensors: safetensors"));
  fs::remove(folder / "run/best.safetensors");
  check_refused(kEval + "run", "run/last.safetensors");
  check_refused(kEval + "images", "is a folder");
}

TEST_CASE_FIXTURE(Fixture, "a state without check sums is not resumed") {
  output(kTrain);
  const std::string path = folder / "run/state.safetensors", state = slurp(path);
  std::uint64_t length = 0;
  std::memcpy(&length, state.data(), 8);
  auto header = nlohmann::json::parse(state.substr(8, length));
  REQUIRE(header["__metadata__"].erase("crc32") == 1);
  REQUIRE(header["__metadata__"].erase("crc32.header") == 1);
  const std::string text = header.dump(), numbers = state.substr(8 + length);
  length = text.size();
  spill(path, std::string(reinterpret_cast<const char*>(&length), 8) + text + numbers);
  check_refused("train --resume run", "no check sums");
}

TEST_CASE_FIXTURE(Fixture, "eval: a split without a counted pixel has no scores") {
  write_pth(folder / "w.pth", weights_of("nano", 3));
  for (int i = 0; i < 2; ++i)
    write_png(folder / fmt::format("labels/val/{}.png", i),
              LabelMap{40, 48, std::vector<std::uint8_t>(40 * 48, 255)});
  check_refused(kEval + "w.pth --json a.json", "ignored");
  CHECK_FALSE(fs::exists(folder / "a.json"));
}

TEST_CASE_FIXTURE(Fixture, "eval: JSON is written whatever the names are") {
  write_pth(folder / "w\xff.pth", weights_of("nano", 3));
  output(kEval + "'w\xff.pth' --json a.json");
  const auto json = nlohmann::json::parse(slurp(folder / "a.json"));
  CHECK(json.at("weights") == "w\xef\xbf\xbd.pth");
}

TEST_CASE_FIXTURE(Fixture, "convert: refusals") {
  write_pth(folder / "a.pth", weights_of("nano", 3));
  const std::string before = slurp(folder / "a.pth");
  check_refused("convert a.pth a.pth --overwrite", "input itself");
  check_refused("convert a.pth b", "--format");
  check_refused("convert a.pth images", "--format");
  check_refused("convert a.pth images --format pth", "is a folder");
  check_refused("convert a.pth nowhere/b.pth", "nowhere/b.pth");
  check_refused("convert none.pth b.pth", "none.pth");
  check_refused("convert data.toml b.pth", "neither");
  check_refused("convert a.pth b.pth --dtype i8", "i8");
  check_refused("convert a.pth b.pth --half --dtype f32", "--dtype");
  check_refused("info data.toml", "neither");
  output("convert a.pth b.pth");
  check_refused("convert a.pth b.pth", "--overwrite");
  output("convert a.pth b.pth --overwrite");
  CHECK(slurp(folder / "a.pth") == before);
}
