#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "data/file.h"
#include "data/safetensors.h"
#include "data/train_state.h"
#include "tests/data/encoders.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;

namespace {

FileBytes file_of(const std::string& header, std::size_t data_bytes) {
  FileBytes file(8);
  const std::uint64_t length = header.size();
  std::memcpy(file.data(), &length, 8);
  file.insert(file.end(), header.begin(), header.end());
  file.resize(file.size() + data_bytes);
  return file;
}

// False after an InputError that names the file in one line.
bool reads(const TemporaryFolder& folder, const FileBytes& bytes) {
  const std::string path = folder / "x.safetensors";
  write_file_atomic(path, bytes);
  try {
    read_safetensors(path);
    return true;
  } catch (const InputError& e) {
    const std::string what = e.what();
    CHECK(what.find(path) == 0);
    CHECK(what.find('\n') == std::string::npos);
    CHECK(what.size() < 1000);
    return false;
  }
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

}  // namespace

TEST_CASE("safetensors: every dtype, odd shapes and metadata survive") {
  const TemporaryFolder folder;
  const std::string path = folder / "a.safetensors";
  const std::vector<float> f{1.5f, -0.0f, 3e-41f, INFINITY, 5, 6};
  const std::vector<std::int64_t> i{-1, 1ll << 60, 3};
  const std::vector<bfloat16> b{bfloat16(1.0f), bfloat16(-2.5f)};
  const Tensor view = Tensor::from(f, {2, 3}).transpose(0, 1);
  write_safetensors(path,
                    {{"z.f32", Tensor::from(f, {2, 3})},
                     {"a.f64", Tensor::from(std::vector<double>{M_PI}, {})},
                     {"bf16", Tensor::from(b, {2, 1})},
                     {"i64", Tensor::from(i, {3})},
                     {"i32", Tensor::from(std::vector<std::int32_t>{-7}, {1, 1, 1})},
                     {"u8", Tensor::from(std::vector<std::uint8_t>{0, 255}, {2})},
                     {"empty", Tensor::empty({0, 4})},
                     {"view", view}},
                    {{"note", "\"quoted\"\nüml"}, {"k", ""}});
  CHECK(folder.files() == 1);
  const SafeTensors file = read_safetensors(path);
  CHECK(file.metadata.at("note") == "\"quoted\"\nüml");
  CHECK(file.metadata.size() == 2);
  REQUIRE(file.tensors.size() == 8);
  CHECK(file.tensors[0].name == "z.f32");  // the order of the bytes, not of the names
  CHECK(std::memcmp(file.find("z.f32")->to_vector<float>().data(), f.data(), 24) == 0);
  CHECK(file.find("a.f64")->item() == M_PI);
  CHECK(file.find("a.f64")->ndim() == 0);
  CHECK(file.find("bf16")->dtype() == DType::bf16);
  CHECK(file.find("bf16")->to_vector<float>() == std::vector<float>{1, -2.5f});
  CHECK(file.find("i64")->to_vector<std::int64_t>() == i);
  CHECK(file.find("i32")->to_vector<std::int32_t>() == std::vector<std::int32_t>{-7});
  CHECK(file.find("u8")->to_vector<std::uint8_t>() == std::vector<std::uint8_t>{0, 255});
  CHECK(file.find("empty")->shape() == Shape{0, 4});
  CHECK(file.find("view")->shape() == Shape{3, 2});
  CHECK(file.find("view")->to_vector<float>() == view.to_vector<float>());
  CHECK(file.find("none") == nullptr);
  CHECK_THROWS_AS(write_safetensors(path, {{"a", Tensor::zeros({1})}, {"a", Tensor::zeros({1})}}),
                  Error);
  CHECK(read_safetensors(path).tensors.size() == 8);  // what was there stays
}

TEST_CASE("safetensors: half precision reads as f32") {
  const TemporaryFolder folder;
  FileBytes file = file_of("{\"h\":" + entry("F16", "[6]", "[0,12]") + "}", 0);
  for (const std::uint16_t h : {0x3c00, 0xc000, 0x0001, 0x7c00, 0x7bff, 0x7e00}) {
    file.push_back(static_cast<std::uint8_t>(h & 255));
    file.push_back(static_cast<std::uint8_t>(h >> 8));
  }
  write_file_atomic(folder / "h", file);
  const auto values = read_safetensors(folder / "h").tensors.at(0).value.to_vector<float>();
  CHECK(values[0] == 1);
  CHECK(values[1] == -2);
  CHECK(values[2] == std::ldexp(1.0f, -24));
  CHECK(std::isinf(values[3]));
  CHECK(values[4] == 65504);
  CHECK(std::isnan(values[5]));
}

TEST_CASE("safetensors: contradictory headers are refused") {
  const TemporaryFolder folder;
  const std::string good = entry("F32", "[2]", "[0,8]");
  CHECK(reads(folder, file_of("{\"a\":" + good + "}", 8)));
  CHECK(reads(folder, file_of("{}", 0)));
  CHECK(reads(folder, file_of("{\"a\":" + good + "}   ", 8)));
  const std::vector<std::pair<std::string, std::size_t>> bad{
      {"{\"a\":" + good + "}", 7},                                               // data missing
      {"{\"a\":" + good + "}", 9},                                               // data left over
      {"{\"a\":" + good + ",\"b\":" + entry("U8", "[4]", "[4,8]") + "}", 8},     // overlap
      {"{\"a\":" + good + ",\"b\":" + entry("U8", "[4]", "[10,14]") + "}", 14},  // a gap
      {"{\"a\":" + good + ",\"a\":" + entry("U8", "[1]", "[8,9]") + "}", 9},     // twice
      {"{\"a\":" + entry("F32", "[2]", "[8,0]") + "}", 8},
      {"{\"a\":" + entry("F32", "[2]", "[0,-8]") + "}", 8},
      {"{\"a\":" + entry("F32", "[2]", "[0,8,9]") + "}", 8},
      {"{\"a\":" + entry("F32", "[2]", "[0,8.0]") + "}", 8},
      {"{\"a\":" + entry("F32", "[2]", "[0,\"8\"]") + "}", 8},
      {"{\"a\":" + entry("F32", "[-2]", "[0,8]") + "}", 8},
      {"{\"a\":" + entry("F32", "[3]", "[0,8]") + "}", 8},
      {"{\"a\":" + entry("F32", "2", "[0,8]") + "}", 8},
      {"{\"a\":" + entry("F32", "[4294967296,4294967296,2]", "[0,8]") + "}", 8},
      {"{\"a\":" + entry("F32", "[0,18446744073709551615]", "[0,0]") + "}", 0},
      {"{\"a\":" + entry("F32", "[99999999999999999999]", "[0,8]") + "}", 8},
      {"{\"a\":" + entry("F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]") + "}", 8},
      {"{\"a\":" + entry("C64", "[1]", "[0,8]") + "}", 8},
      {R"({"a":{"dtype":3,"shape":[2],"data_offsets":[0,8]}})", 8},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8},
      {R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", 8},
      {R"({"a":[1,2]})", 8},
      {R"({"a":null})", 0},
      {"[]", 0},
      {"", 0},
      {"{\"a\":" + good, 8},
      {"{\"\":" + good + "}", 8},
      {"{\"a\\nb\":" + good + "}", 8},
      {"{\"\xc3\xbc\":" + good + "}", 8},
      {"{\"\xff\xfe\":" + good + "}", 8},
      {R"({"__metadata__":{"a":1}})", 0},
      {R"({"__metadata__":"a"})", 0},
      {"{\"a\":" + std::string(100000, '['), 0},
      {std::string(100000, '['), 0},
      {"{\"a\":" + std::string(5, '[') + std::string(5, ']') + "}", 0},
      {std::string(60000, '{'), 0}};
  for (const auto& [header, bytes] : bad) {
    CAPTURE(header.substr(0, 100));
    CHECK_FALSE(reads(folder, file_of(header, bytes)));
  }
  std::string wide = "{\"a\":[";
  for (int i = 0; i < 200000; ++i) wide += "1,";
  CHECK_FALSE(reads(folder, file_of(wide + "1]}", 0)));
  FileBytes absurd(64, 0xff);
  CHECK_FALSE(reads(folder, absurd));
  CHECK_FALSE(reads(folder, {}));
}

TEST_CASE("safetensors: cut or damaged files") {
  const TemporaryFolder folder;
  write_safetensors(folder / "a",
                    {{"w", Tensor::full({2, 3}, 0.5)}, {"n", Tensor::zeros({3}, DType::i64)}},
                    {{"k", "v"}});
  const FileBytes file = read_file(folder / "a");
  for (std::size_t n = 0; n < file.size(); ++n)
    CHECK_FALSE(reads(folder, {file.begin(), file.begin() + static_cast<std::ptrdiff_t>(n)}));
  RandomStream random({3});
  for (int round = 0; round < 1000; ++round) {
    FileBytes damaged = file;
    for (std::uint64_t n = 1 + random.below(3); n > 0; --n)
      damaged[random.below(200)] = static_cast<std::uint8_t>(random.next());
    reads(folder, damaged);
  }
}

TEST_CASE("training state survives") {
  const TemporaryFolder folder;
  const std::string path = folder / "state";
  TrainState state;
  state.iteration = 123456789012;
  state.seed = ~0ull;
  state.best = 1.0 / 3;
  state.config = "a = 1\n[b]\n";
  state.tensors = {{"optimizer.m.w", Tensor::full({3}, 2)}};
  state.extra = {{"commit", "abc"}};
  save_train_state(path, state);
  const TrainState read = load_train_state(path);
  CHECK(read.iteration == state.iteration);
  CHECK(read.seed == state.seed);
  CHECK(read.best == state.best);
  CHECK(read.config == state.config);
  CHECK(read.extra == state.extra);
  REQUIRE(read.tensors.size() == 1);
  CHECK(read.tensors[0].value.to_vector<float>() == std::vector<float>(3, 2));
  write_safetensors(path, {}, {{"format", "pt"}});
  CHECK(input_error([&] { load_train_state(path); }).find(path) == 0);
  write_safetensors(path, {}, {{"format", "nextgrad training state 1"}, {"iteration", "7x"}});
  CHECK(!input_error([&] { load_train_state(path); }).empty());
}
