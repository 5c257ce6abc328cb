// Weights of every origin through the binary: what loads, what is said of it, what is refused.
#include <doctest/doctest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "apps/checkpoint.h"
#include "data/torch_file.h"
#include "models/classifier.h"
#include "models/published_names.h"
#include "models/segnext.h"
#include "tests/apps/little_data.h"
#include "tests/apps/program.h"

using namespace nextgrad;

namespace {

const std::string kEval = "eval --data folder --data-root data.toml --weights ";
const std::string kTrain =
    "train --data folder --data-root data.toml --variant nano --crop 32 --batch 2 --iterations 1 "
    "--pictures 0 --out run --overwrite ";

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
  SegNeXt model(segnext_config(variant, classes));
  init_parameters(model, 1);
  return state_dict(model);
}

StateDict imagenet_weights(const std::string& variant) {
  MSCANClassifier model(segnext_config(variant, 1).encoder, 10);
  init_parameters(model, 2);
  return state_dict(model);
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
  CHECK(has(out, "class 0"));
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
  check_refused(kEval + "strange.pth", "no classifier");
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
  MSCANClassifier same(segnext_config("nano", 1).encoder, 10),
      other(segnext_config("nano", 1).encoder, 4);
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
