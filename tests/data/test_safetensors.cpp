#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <ctime>
#include <nlohmann/json.hpp>

#include "data/files/file.h"
#include "data/weights/weights_file.h"
#include "data/weights/train_state.h"
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
  const WeightsFile file = read_safetensors(path);
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
      {R"({"a":{"dtype":{},"shape":[2],"data_offsets":[0,8]}})", 8},
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
  // Tables in tables: refused at the first, for the parser looks at all before for each.
  std::string tables = R"({"__metadata__":{"a":{})";
  for (int i = 0; i < 40000; ++i) tables += ",\"" + std::to_string(i) + "\":{}";
  write_file_atomic(folder / "tables", file_of(tables + "}}", 0));
  CHECK(input_error([&] { read_safetensors(folder / "tables"); }).find("holds a table") !=
        std::string::npos);
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

TEST_CASE("safetensors: check sums that others can read") {
  const TemporaryFolder folder;
  const std::vector<float> values{1, 2, 3};
  write_safetensors(folder / "a", {{"w", Tensor::from(values, {3})}, {"e", Tensor::empty({0})}},
                    {{"k", "v"}, {"bytes", "\xff"}});
  const WeightsFile read = read_safetensors(folder / "a");
  CHECK(read.summed);
  CHECK(read.metadata == Metadata{{"k", "v"}, {"bytes", "\xef\xbf\xbd"}});
  const FileBytes file = read_file(folder / "a");
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  CHECK(length % 8 == 0);
  const auto header = nlohmann::json::parse(file.begin() + 8, file.begin() + 8 + length);
  const auto sums = nlohmann::json::parse(header["__metadata__"]["crc32"].get<std::string>());
  CHECK(sums.size() == 2);
  CHECK(sums["w"] == "b20e96b1");  // Python: zlib.crc32(struct.pack("<3f", 1, 2, 3))
  CHECK(sums["e"] == "00000000");
  // Sums are all there or none is; they may be written in another order.
  const auto rewritten = [&](auto&& change) {
    auto other = header;
    change(other);
    const std::string text = other.dump();
    FileBytes bytes = file_of(text, 0);
    bytes.insert(bytes.end(), file.begin() + 8 + static_cast<std::ptrdiff_t>(length), file.end());
    return bytes;
  };
  CHECK(reads(folder, rewritten([](auto&) {})));
  CHECK(reads(folder, rewritten([](auto& h) { h.erase("__metadata__"); })));
  CHECK_FALSE(reads(folder, rewritten([](auto& h) { h["__metadata__"].erase("crc32"); })));
  CHECK_FALSE(reads(folder, rewritten([](auto& h) { h["__metadata__"].erase("crc32.header"); })));
  CHECK_FALSE(reads(folder, rewritten([](auto& h) { h["__metadata__"]["k"] = "w"; })));
  CHECK_FALSE(reads(folder, rewritten([](auto& h) {
                      h["v"] = h["w"];
                      h.erase("w");
                    })));
  CHECK_FALSE(reads(folder, rewritten([](auto& h) { h["w"]["shape"] = {1, 3}; })));
  CHECK_FALSE(reads(folder, rewritten([](auto& h) { h["w"]["dtype"] = "I32"; })));
  write_file_atomic(folder / "b", file_of("{\"a\":" + entry("F32", "[2]", "[0,8]") + "}", 8));
  CHECK_FALSE(read_safetensors(folder / "b").summed);
}

TEST_CASE("safetensors: what is flipped or zeroed is noticed, or makes no difference") {
  const TemporaryFolder folder;
  TrainState state;
  state.iteration = 250;
  state.config = "seed = 1\nclasses = [\"a\", \"b\"]\n";
  RandomStream random({5});
  const auto noise = [&](std::int64_t n) {
    std::vector<float> values;
    for (std::int64_t i = 0; i < n; ++i) values.push_back(static_cast<float>(random.uniform()));
    return Tensor::from(values, {n});
  };
  state.tensors = {{"model.w", noise(300)},
                   {"optimizer.w.m", noise(300)},
                   {"model.n", Tensor::full({1}, 7, DType::i64)}};
  save_train_state(folder / "state", state);
  const FileBytes good = read_file(folder / "state");
  const auto same = [&](const TrainState& read) {
    bool equal = read.iteration == state.iteration && read.seed == state.seed &&
                 read.config == state.config && read.best == state.best && read.extra.empty() &&
                 read.tensors.size() == state.tensors.size();
    for (std::size_t i = 0; equal && i < read.tensors.size(); ++i)
      equal =
          read.tensors[i].name == state.tensors[i].name &&
          read.tensors[i].value.shape() == state.tensors[i].value.shape() &&
          read.tensors[i].value.to_vector<double>() == state.tensors[i].value.to_vector<double>();
    return equal;
  };
  CHECK(same(load_train_state(folder / "state")));
  int noticed = 0, harmless = 0;
  const auto attempt = [&](const FileBytes& bytes) {
    std::ofstream(folder / "damaged", std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
    try {
      const TrainState read = load_train_state(folder / "damaged");
      CHECK(same(read));
      ++harmless;
    } catch (const InputError&) {
      ++noticed;
    }
  };
  std::uint64_t header = 0;
  std::memcpy(&header, good.data(), 8);
  for (std::size_t i = 0; i < 8 + header; ++i) {  // every byte of the header
    FileBytes bytes = good;
    bytes[i] = static_cast<std::uint8_t>(bytes[i] ^ (1u << random.below(8)));
    attempt(bytes);
  }
  for (int round = 0; round < 200; ++round) {  // and bits of the numbers
    FileBytes bytes = good;
    const std::size_t at = 8 + header + random.below(good.size() - 8 - header);
    bytes[at] = static_cast<std::uint8_t>(bytes[at] ^ (1u << random.below(8)));
    attempt(bytes);
  }
  CHECK(harmless <= 8);  // spaces at the header's end that became others
  CHECK(noticed + harmless == static_cast<int>(8 + header) + 200);
  FileBytes zeroed = good;
  std::fill(zeroed.end() - 64, zeroed.end() - 16, std::uint8_t{0});
  write_file_atomic(folder / "damaged", zeroed);
  const std::string error = input_error([&] { load_train_state(folder / "damaged"); });
  CHECK(error.find("damaged: tensor \"optimizer.w.m\" does not match its check sum") !=
        std::string::npos);
}

TEST_CASE("safetensors: fifty thousand tensors take no more than their share of time") {
  const TemporaryFolder folder;
  const Tensor one = Tensor::zeros({1}, DType::u8);
  StateDict many;
  for (int i = 0; i < 50000; ++i) many.push_back({fmt::format("t{}", i), one});
  const std::clock_t begin = std::clock();  // the processor's time
  write_safetensors(folder / "many", many);
  CHECK(read_safetensors(folder / "many").tensors.size() == many.size());
  write_torch_file(folder / "many.pth", many,
                   std::vector<ElementType>(many.size(), ElementType::u8));
  CHECK(read_weights(folder / "many.pth").tensors.size() == many.size());
  CHECK(static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC < 15 * kSanitizerCost);
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
  CHECK(read.summed);
  REQUIRE(read.tensors.size() == 1);
  CHECK(read.tensors[0].value.to_vector<float>() == std::vector<float>(3, 2));
  write_safetensors(path, {}, {{"format", "pt"}});
  CHECK(input_error([&] { load_train_state(path); }).find(path) == 0);
  write_safetensors(path, {}, {{"format", "nextgrad training state 1"}, {"iteration", "7x"}});
  CHECK(!input_error([&] { load_train_state(path); }).empty());
}
