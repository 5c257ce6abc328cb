// PyTorch's files: those that PyTorch wrote, read to the bit; our own, and what one meets outside.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "data/files/file.h"
#include "data/weights/weights_file.h"
#include "tests/data/torch_builder.h"
#include "tests/golden/formula.h"

using namespace nextgrad;
using namespace nextgrad::testing;

namespace {

std::string golden_file(const std::string& name) {
  return (golden::folder() / "checkpoints" / name).string();
}

const Tensor& at(const WeightsFile& file, const std::string& name) {
  for (const auto& [n, value] : file.tensors)
    if (n == name) return value;
  FAIL("no tensor " << name);
  throw Error(name);
}

// Through the files' own code, a number at a time.
std::uint16_t half_from(double value) {
  const auto bytes =
      encode_elements(ElementType::f16, Tensor::from(std::vector<double>{value}, {}));
  return static_cast<std::uint16_t>(bytes.at(0) | bytes.at(1) << 8);
}
float half_to_float(std::uint16_t bits) {
  alignas(2) std::uint8_t bytes[2];
  std::memcpy(bytes, &bits, 2);
  return static_cast<float>(decode_elements(ElementType::f16, bytes, {}).item());
}

// How many elements differ from the formula, in any bit.
std::size_t wrong_bits(const NamedTensor& t, bool half) {
  const auto expected = golden::weights(t.name, t.value.shape());
  const auto read = t.value.to_vector<float>();
  REQUIRE(read.size() == expected.size());
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < read.size(); ++i) {
    const auto single = static_cast<float>(expected[i]);
    const float want = half ? half_to_float(half_from(single)) : single;
    wrong += std::memcmp(&want, &read[i], sizeof(float)) != 0;
  }
  return wrong;
}

}  // namespace

TEST_CASE("torch file: what PyTorch wrote, to the bit") {
  struct Case {
    const char *file, *format, *key;
    bool half;
  };
  for (const Case& c : {Case{"zip_nested.pth", "PyTorch zip", "state_dict", false},
                        Case{"zip_plain.pth", "PyTorch zip", "", false},
                        Case{"legacy.pth", "PyTorch legacy", "state_dict", false},
                        Case{"half.pth", "PyTorch zip", "", true}}) {
    CAPTURE(c.file);
    const WeightsFile file = read_weights(golden_file(c.file));
    CHECK(file.format == c.format);
    CHECK(file.key == c.key);
    CHECK(file.tensors.size() == 56);
    for (std::size_t i = 0; i < file.tensors.size(); ++i) {
      CAPTURE(file.tensors[i].name);
      if (file.tensors[i].name.ends_with("num_batches_tracked")) {
        CHECK(file.types[i] == ElementType::i64);
        CHECK(file.tensors[i].value.item() == 0);
        continue;
      }
      CHECK(file.types[i] == (c.half ? ElementType::f16 : ElementType::f32));
      CHECK(wrong_bits(file.tensors[i], c.half) == 0);
    }
    CHECK(file.tensors[0].name == "backbone.patch_embed1.proj.0.weight");
    CHECK(file.tensors[0].value.shape() == Shape{16, 3, 3, 3});
    CHECK(file.tensors.back().name == "decode_head.conv_seg.bias");
  }
}

TEST_CASE("torch file: metadata beside the weights") {
  for (const char* name : {"zip_nested.pth", "legacy.pth"}) {
    const WeightsFile file = read_weights(golden_file(name));
    CHECK(file.metadata.at("classes") == R"(["road","sidewalk"])");
    CHECK(file.metadata.at("iter") == "160000");
    CHECK(file.metadata.at("mmseg_version") == "0.24.1");
    CHECK(file.metadata.at("ratio") == "0.5");
    CHECK(file.metadata.count("nested") == 0);
    CHECK(file.beside.at(0) == "meta");
  }
  CHECK(read_weights(golden_file("zip_nested.pth")).beside.at(1) == "optimizer");
}

TEST_CASE("torch file: views of one storage") {
  const WeightsFile file = read_weights(golden_file("shared_storage.pth"));
  REQUIRE(file.tensors.size() == 4);
  std::vector<float> whole(24), column{2, 8, 14, 20}, transposed;
  for (std::size_t i = 0; i < 24; ++i) whole[i] = static_cast<float>(i);
  for (int c = 0; c < 6; ++c)
    for (int r = 0; r < 4; ++r) transposed.push_back(static_cast<float>(6 * r + c));
  CHECK(at(file, "whole").to_vector<float>() == whole);
  CHECK(at(file, "whole").shape() == Shape{4, 6});
  CHECK(at(file, "column").to_vector<float>() == column);
  CHECK(at(file, "transposed").to_vector<float>() == transposed);
  CHECK(at(file, "transposed").shape() == Shape{6, 4});
  CHECK(at(file, "row").to_vector<float>() == std::vector<float>{6, 7, 8, 9, 10, 11});
}

TEST_CASE("torch file: every element type, written and read") {
  const TemporaryFolder folder;
  const std::vector<float> f{1.5f, -0.0f, 3e-41f, INFINITY};
  const StateDict tensors{{"f64", Tensor::from(std::vector<double>{M_PI}, {})},
                          {"f32", Tensor::from(f, {2, 2})},
                          {"f16", Tensor::from(std::vector<float>{0.5f, -65504.0f}, {2})},
                          {"bf16", Tensor::from(std::vector<bfloat16>{bfloat16(-2.5f)}, {1, 1})},
                          {"i64", Tensor::from(std::vector<std::int64_t>{-1, 1ll << 60}, {2})},
                          {"i32", Tensor::from(std::vector<std::int32_t>{-7}, {1})},
                          {"i16", Tensor::from(std::vector<std::int32_t>{-32768, 32767}, {2})},
                          {"i8", Tensor::from(std::vector<std::int32_t>{-128}, {1})},
                          {"u8", Tensor::from(std::vector<std::uint8_t>{255}, {1})},
                          {"bool", Tensor::from(std::vector<std::uint8_t>{0, 1}, {2})},
                          {"u16", Tensor::from(std::vector<std::int32_t>{65535}, {1})},
                          {"u32", Tensor::from(std::vector<std::int64_t>{4294967295}, {1})},
                          {"empty", Tensor::zeros({0, 4})}};
  std::vector<ElementType> types;
  for (const auto& [name, value] : tensors)
    types.push_back(parse_element_type(name).value_or(ElementType::f32));
  const Metadata metadata{{"variant", "tiny"}, {"note", "\"quoted\"\nüml"}, {"classes", "[]"}};
  write_torch_file(folder / "a", tensors, types, metadata);
  write_safetensors(folder / "b", tensors, types, metadata);
  for (const char* name : {"a", "b"}) {
    const WeightsFile file = read_weights(folder / name);
    CHECK(file.metadata == metadata);
    CHECK(file.types == types);
    REQUIRE(file.tensors.size() == tensors.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      CAPTURE(tensors[i].name);
      CHECK(file.tensors[i].name == tensors[i].name);
      CHECK(file.tensors[i].value.shape() == tensors[i].value.shape());
      CHECK(file.tensors[i].value.dtype() == tensors[i].value.dtype());
      CHECK(file.tensors[i].value.to_vector<double>() == tensors[i].value.to_vector<double>());
    }
    CHECK(at(file, "i64").to_vector<std::int64_t>()[1] == 1ll << 60);
  }
  CHECK_THROWS_AS(
      write_torch_file(folder / "c", {{"a", Tensor::full({1}, 300)}}, {ElementType::u8}, {}),
      Error);
  CHECK_FALSE(std::filesystem::exists(folder / "c"));
}

TEST_CASE("half precision rounds to nearest even") {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto h = static_cast<std::uint16_t>(bits);
    const float value = half_to_float(h);
    if (std::isnan(value))
      CHECK(std::isnan(half_to_float(half_from(value))));
    else
      CHECK(half_from(value) == h);
  }
  CHECK(half_from(1 + 0x1p-11) == 0x3c00);  // a tie goes to the even
  CHECK(half_from(1 + 3 * 0x1p-11) == 0x3c02);
  CHECK(half_from(1 + 0x1p-11 + 0x1p-30) == 0x3c01);
  CHECK(half_from(65519.9) == 0x7bff);
  CHECK(half_from(65520) == 0x7c00);
  CHECK(half_from(0x1p-25) == 0);  // a tie with zero
  CHECK(half_from(0x1.8p-25) == 1);
  CHECK(half_from(0x1p-14 - 0x1p-26) == 0x0400);  // carries into the smallest normal
  CHECK(half_from(-1e300) == 0xfc00);
}

TEST_CASE("torch file: where the weights may lie") {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  const auto tensor = [](const std::string& key) {
    return pk::tensor(pk::storage("FloatStorage", key, 1), 0, {1}, {1});
  };
  const Parts storages{{"0", floats({1})}, {"1", floats({2})}, {"2", floats({3})}};
  const auto first = [&](const std::string& object) {
    write_pth(path, object, storages);
    const WeightsFile file = read_weights(path);
    CHECK(file.tensors.size() == 1);
    return file.key + ":" + file.tensors.at(0).name + "=" +
           std::to_string(static_cast<int>(file.tensors.at(0).value.item()));
  };
  const auto one = [&](const char* key) { return pk::dict({{"w", tensor(key)}}); };
  CHECK(first(one("0")) == ":w=1");
  CHECK(first(pk::dict({{"model", one("1")}, {"state_dict", one("0")}})) == "state_dict:w=1");
  CHECK(first(pk::dict({{"state_dict_ema", one("2")}, {"model", one("1")}})) == "model:w=2");
  CHECK(first(pk::dict({{"state_dict_ema", one("2")}, {"epoch", "K\x01"}})) ==
        "state_dict_ema:w=3");
  // A file of that name beside the folder is no part of it.
  write_zip(path,
            {{"data.pkl", "?"}, {"x/data.pkl", pk::whole(one("0"))}, {"x/data/0", floats({1})}});
  CHECK(read_weights(path).tensors.size() == 1);
  // An empty one does not count; plain values among the weights are left out.
  CHECK(first(pk::dict({{"state_dict", "}"}, {"model", one("1")}})) == "model:w=2");
  CHECK(first(pk::dict({{"w", tensor("0")}, {"epoch", "K\x01"}, {"names", "](NNe"}})) == ":w=1");
  // A parameter, a parameter with attributes, a tensor with attributes, torch.Size.
  const std::string hooks = pk::call(pk::global("collections", "OrderedDict"), ")");
  const auto parameter = pk::call(pk::global("torch._utils", "_rebuild_parameter"),
                                  pk::tuple({tensor("1"), "\x88", hooks}));
  CHECK(first(pk::dict({{"w", parameter}})) == ":w=2");
  const auto with_state =
      pk::call(pk::global("torch._utils", "_rebuild_parameter_with_state"),
               pk::tuple({tensor("2"), "\x88", hooks, pk::dict({{"tag", pk::evil()}})}));
  CHECK(first(pk::dict({{"w", with_state}})) == ":w=3");
  const auto size = pk::call(pk::global("torch", "Size"), pk::tuple({pk::numbers({1})}));
  const auto arguments = pk::tuple({pk::storage("FloatStorage", "0", 1), "K" + std::string(1, '\0'),
                                    size, pk::numbers({1}), "\x89", hooks});
  CHECK(first(pk::dict({{"w", pk::call(pk::global("torch._utils", "_rebuild_tensor_v2"),
                                       arguments)}})) == ":w=1");
  const auto attributes = pk::call(pk::global("torch._tensor", "_rebuild_from_type_v2"),
                                   pk::tuple({pk::global("torch._utils", "_rebuild_tensor_v2"),
                                              pk::global("torch", "Tensor"), arguments, "}"}));
  CHECK(first(pk::dict({{"w", attributes}})) == ":w=1");
  // OrderedDict([(k, v)]) as Python 2 wrote it, and attributes of the dictionary (_metadata).
  const auto pairs = pk::call(pk::global("collections", "OrderedDict"),
                              "(](" + pk::tuple({pk::text("w"), tensor("0")}) + "et");
  CHECK(first(pairs + pk::dict({{"_metadata", "}"}}) + "b") == ":w=1");
}

TEST_CASE("torch file: nothing is executed; foreign things are skipped or refused by name") {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  const auto tensor = pk::tensor(pk::storage("FloatStorage", "0", 1), 0, {1}, {1});
  const auto weights = pk::dict({{"w", tensor}});
  const auto message = [&](const std::string& object) {
    write_pth(path, object, {{"0", floats({1})}});
    const std::string text = input_error([&] { read_weights(path); });
    CHECK(text.find('\n') == std::string::npos);
    return text;
  };
  const std::string new_object = pk::global("posix", "fork") + ")\x81";
  const std::string inst = "(" + pk::text("x") + "iposix\nfork\n";
  const std::string obj = "(" + pk::global("posix", "fork") + "o";
  const std::string built = new_object + pk::dict({{"a", "N"}}) + "b";
  for (const std::string& foreign :
       {pk::evil(), new_object, inst, obj, built, pk::global("builtins", "eval"),
        pk::text("os") + pk::text("system") + "\x93(" + pk::text("touch pwned") + "tR",
        "(](" + pk::evil() + "et"}) {
    // Outside the weights it does not matter.
    CHECK(message(pk::dict({{"meta", foreign}, {"state_dict", weights}})) == "");
    CHECK(message(pk::dict({{"state_dict", weights}, {"optimizer", foreign}})) == "");
    CHECK(message(pk::dict({{"w", tensor}, {"meta", pk::dict({{"a", foreign}})}})) == "");
    // Inside it is refused, by its name.
    for (const auto& object :
         {pk::dict({{"state_dict", pk::dict({{"w", tensor}, {"v", foreign}})}}),
          pk::dict({{"w", tensor}, {"v", foreign}}),
          pk::dict({{"w", tensor}, {"v", "](" + foreign + "e"}})}) {
      const std::string text = message(object);
      CAPTURE(text);
      const bool named = text.find("os.system") != std::string::npos ||
                         text.find("posix.fork") != std::string::npos ||
                         text.find("builtins.eval") != std::string::npos;
      CHECK(named);
      CHECK(text.find("\"v\"") != std::string::npos);
    }
  }
  // A whole pickled model.
  CHECK(message(new_object).find("posix.fork") != std::string::npos);
  CHECK(message(pk::dict({{"model", built}})).find("posix.fork") != std::string::npos);
  // Disguises.
  const auto disguise = [&](const std::string& module, const std::string& name,
                            const std::string& arguments) {
    return message(pk::dict({{"w", pk::call(pk::global(module, name), arguments)}}));
  };
  CHECK(disguise("torch._utils", "_rebuild_sparse_tensor", pk::tuple({"N", "N"}))
            .find("_rebuild_sparse_tensor") != std::string::npos);
  CHECK(disguise("torch._utils", "_rebuild_parameter", pk::tuple({pk::evil(), "\x88", "}"}))
            .find("os.system") != std::string::npos);
  CHECK(disguise("torch._tensor", "_rebuild_from_type_v2",
                 pk::tuple({pk::global("os", "system"), pk::global("torch", "Tensor"),
                            pk::tuple({pk::text("touch pwned")}), "}"}))
            .find("os.system") != std::string::npos);
  CHECK(disguise("torch._utils", "_rebuild_tensor_v2", ")") != "");
  CHECK(disguise("torch._utils", "_rebuild_tensor_v2", "}") != "");
  CHECK_FALSE(std::filesystem::exists("pwned"));
}

TEST_CASE("torch file: other files are told apart by their content") {
  const TemporaryFolder folder;
  const auto message = [&](const std::string& bytes) {
    write_file_atomic(folder / "x.pth", bytes);
    const std::string text = input_error([&] { read_weights(folder / "x.pth"); });
    CHECK(text.find(folder / "x.pth") == 0);
    CHECK(text.find('\n') == std::string::npos);
    return text;
  };
  CHECK(message("version https://git-lfs.github.com/spec/v1\n").find("git lfs pull") !=
        std::string::npos);
  CHECK(message("<!DOCTYPE html>").find("web page") != std::string::npos);
  CHECK(message("").find("neither") != std::string::npos);
  CHECK(message("PK\x03\x04").find("too short") != std::string::npos);
  std::string tar(600, '\0');
  tar.replace(257, 5, "ustar");
  CHECK(message(tar).find("tar archive") != std::string::npos);
  write_zip(folder / "z", {{"a.txt", "hello"}});
  CHECK(input_error([&] { read_weights(folder / "z"); }).find("no PyTorch file") !=
        std::string::npos);
  write_zip(folder / "z", {{"m/data.pkl", "."}, {"m/constants.pkl", "."}});
  CHECK(input_error([&] { read_weights(folder / "z"); }).find("TorchScript") != std::string::npos);
  // The suffix does not count.
  write_safetensors(folder / "s.pth", {{"w", Tensor::zeros({1})}});
  CHECK(read_weights(folder / "s.pth").format == "safetensors");
  write_zip(folder / "big", {{"x/data.pkl", pk::whole("}")}, {"x/byteorder", "big"}});
  CHECK(input_error([&] { read_weights(folder / "big"); }).find("big-endian") != std::string::npos);
}

TEST_CASE("torch file: big-endian and unknown versions of the older format") {
  const TemporaryFolder folder;
  const auto bytes = read_file(golden_file("legacy.pth"));
  const std::string good(bytes.begin(), bytes.end());
  const auto message = [&](const std::string& from, const std::string& to) {
    std::string changed = good;
    const auto at = changed.find(from);
    REQUIRE(at != std::string::npos);
    changed.replace(at, from.size(), to);
    write_file_atomic(folder / "x", changed);
    return input_error([&] { read_weights(folder / "x"); });
  };
  CHECK(message("M\xe9\x03.", "M\xe8\x03.").find("version 1000") != std::string::npos);
  CHECK(message("little_endianq\x02\x88", "little_endianq\x02\x89").find("big-endian") !=
        std::string::npos);
}
