// Shapes, views, storage, dtypes, devices, random numbers and the allocator.
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>
#include <thread>

#include "tensor/backend.h"
#include "tensor/profile.h"
#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using test::test_device;
using test::tested;

namespace {
Tensor counting(const Shape& shape) {
  std::vector<float> v(static_cast<std::size_t>(shape.numel()));
  std::iota(v.begin(), v.end(), 0.f);
  return Tensor::from(v, shape, test_device());
}
}  // namespace

TEST_CASE("shapes broadcast, print and refuse nonsense") {
  CHECK(broadcast({2, 1, 5}, {3, 1}) == Shape{2, 3, 5});
  CHECK(broadcast({}, {4}) == Shape{4});
  CHECK_THROWS_AS(broadcast({2}, {3}), Error);
  CHECK(Shape{2, 3}.str() == "[2,3]");
  CHECK(Shape{}.numel() == 1);
  CHECK(Shape{3, 0}.numel() == 0);
  CHECK_THROWS_AS(Shape({1, 2}).axis(2), Error);
  CHECK(Shape({1, 2}).axis(-1) == 1);
  const std::int64_t big = std::int64_t{1} << 40;
  CHECK_THROWS_AS(Shape({big, big}).numel(), Error);
  CHECK_THROWS_AS(Tensor::empty({-1}, DType::f32, test_device()), Error);
  CHECK_THROWS_AS(Shape({1, 1, 1, 1, 1, 1, 1, 1, 1}), Error);
}

TEST_CASE("views show the same numbers") {
  const Tensor x = counting({2, 3, 4});
  CHECK(x.permute({2, 0, 1}).to_vector<float>()[1] == 4);
  CHECK(x.transpose(0, 2).shape() == Shape{4, 3, 2});
  CHECK(x.slice(1, 1, 3).to_vector<float>()[0] == 4);
  CHECK(x.slice(2, 0, 4, 3).to_vector<float>() ==
        std::vector<float>{0, 3, 4, 7, 8, 11, 12, 15, 16, 19, 20, 23});
  CHECK(x.slice(0, 1, 2).squeeze(0).shape() == Shape{3, 4});
  CHECK(x.unsqueeze(-1).shape() == Shape{2, 3, 4, 1});
  CHECK(x.unsqueeze(0).expand({5, 2, 3, 4}).numel() == 120);
  CHECK(x.reshape({-1, 6}).shape() == Shape{4, 6});
  const Tensor turned = x.permute({2, 1, 0});
  CHECK_FALSE(turned.is_contiguous());
  CHECK(turned.reshape({24}).to_vector<float>() == turned.to_vector<float>());
  Tensor view = x.slice(0, 1, 2);
  view.fill_(-1);
  CHECK(x.to_vector<float>()[12] == -1);
  CHECK(x.to_vector<float>()[11] == 11);
  CHECK(x.slice(0, 0, 0).numel() == 0);
  CHECK_THROWS_AS(x.slice(0, 0, 3), Error);
  CHECK_THROWS_AS(x.permute({0, 0, 1}), Error);
  CHECK_THROWS_AS(x.reshape({5, 5}), Error);
  CHECK_THROWS_AS(x.expand({2, 3, 5}), Error);
  CHECK_THROWS_AS(x.squeeze(0), Error);
}

TEST_CASE("an undefined tensor is refused, not dereferenced") {
  const Tensor none;
  CHECK_FALSE(none.defined());
  CHECK_THROWS_AS(none.backend(), Error);
  CHECK_THROWS_AS(none.clone(), Error);
  CHECK_THROWS_AS(none.slice(0, 0, 0), Error);
}

TEST_CASE("in-place changes count, also through views; sole ownership is noticed") {
  Tensor x = Tensor::zeros({4}, DType::f32, test_device());
  const std::uint64_t before = x.version();
  CHECK(x.sole_owner());
  Tensor view = x.slice(0, 0, 2);
  CHECK_FALSE(x.sole_owner());
  view.add_(Tensor::full({2}, 3.0, DType::f32, test_device()), 2.0);
  CHECK(x.version() > before);
  CHECK(x.to_vector<float>() == std::vector<float>{6, 6, 0, 0});
  x.copy_(Tensor::full({1}, 5.0, DType::f64, test_device()));
  CHECK(x.to_vector<float>() == std::vector<float>(4, 5));
  CHECK_THROWS_AS(x.add_(Tensor::zeros({3}, DType::f32, test_device())), Error);
}

TEST_CASE("dtypes convert") {
  const Tensor x = Tensor::from(std::vector<double>{-1.5, 0, 2.25, 300}, {4}, test_device());
  CHECK(x.to(DType::f32).to_vector<double>() == x.to_vector<double>());
  CHECK(x.to(DType::i32).to_vector<std::int32_t>() == std::vector<std::int32_t>{-1, 0, 2, 300});
  CHECK(x.to(DType::i32).to(DType::u8).to_vector<std::int32_t>() ==
        std::vector<std::int32_t>{255, 0, 2, 44});  // modulo 2^8
  CHECK(x.to(DType::bf16).to_vector<double>() == std::vector<double>{-1.5, 0, 2.25, 300});
  CHECK(float(bfloat16(1.00390625f)) == 1.0f);  // halfway: to even
  CHECK(float(bfloat16(1.01171875f)) == 1.015625f);
  CHECK(std::isnan(float(bfloat16(NAN))));
  CHECK(Tensor::scalar(3, DType::i64, test_device()).item() == 3);
  CHECK_THROWS_AS(x.item(), Error);
  CHECK_THROWS_AS(x.data<float>(), Error);
  CHECK_THROWS_AS(Tensor::from(std::vector<float>{1}, {2}, test_device()), Error);
}

TEST_CASE("devices") {
  CHECK(Device::parse("cpu") == Device{});
  CHECK(Device::parse("cuda:3").index == 3);
  for (const char* bad : {"gpu", "cuda:", "cuda:x", "cuda:-1", ""})
    CHECK_THROWS_AS(Device::parse(bad), InputError);
}

TEST_CASE("Philox gives the published numbers") {
  // Known-answer vectors of Random123 (philox4x32-10).
  CHECK(philox({0, 0, 0, 0}, 0) ==
        std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffffffffffffull) ==
        std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822ull) ==
        std::array<std::uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("random streams differ by every part of their key and have the right moments") {
  const RandomKey key{1, 2, 3, 4};
  for (const RandomKey& other :
       {RandomKey{0, 2, 3, 4}, RandomKey{1, 0, 3, 4}, RandomKey{1, 2, 0, 4}, RandomKey{1, 2, 3, 0}})
    CHECK(other.mixed() != key.mixed());
  RandomStream a(key), b(key);
  double sum = 0, squares = 0, uniform = 0;
  const int n = 20000;
  for (int i = 0; i < n; ++i) {
    const double x = a.normal();
    CHECK(x == b.normal());
    sum += x;
    squares += x * x;
    uniform += a.uniform();
    b.uniform();
  }
  CHECK(std::abs(sum / n) < 0.03);
  CHECK(std::abs(squares / n - 1) < 0.05);
  CHECK(std::abs(uniform / n - 0.5) < 0.01);
  int counts[3] = {};
  for (int i = 0; i < 30000; ++i) ++counts[a.below(3)];
  for (const int c : counts) CHECK(std::abs(c - 10000) < 400);
}

TEST_CASE("numbers beyond an integer's range become its nearest limit, NaN 0") {
  const double inf = HUGE_VAL, nan = std::nan("");
  const std::vector<double> v = {nan,          inf,           -inf,  1e30, -1e30,
                                 2147483648.0, -2147483904.0, 255.5, -0.5};
  const Tensor x = Tensor::from(v, {9}, test_device());
  const auto as = [](const Tensor& t, DType to) { return t.to(to).to_vector<std::int64_t>(); };
  using Long = std::numeric_limits<std::int64_t>;
  using Int = std::numeric_limits<std::int32_t>;
  for (const DType from : {DType::f32, DType::f64, DType::bf16}) {
    CAPTURE(name_of(from));
    const std::int64_t last = from == DType::bf16 ? 256 : 255;  // bf16 has 8 bits
    const std::int64_t low = from == DType::bf16 ? -2147483648 : -2147483904;
    const Tensor y = x.to(from);
    CHECK(as(y, DType::u8) == std::vector<std::int64_t>{0, 255, 0, 255, 0, 255, 0, 255, 0});
    CHECK(as(y, DType::i32) == std::vector<std::int64_t>{0, Int::max(), Int::min(), Int::max(),
                                                         Int::min(), Int::max(), Int::min(), last,
                                                         0});
    CHECK(as(y, DType::i64) == std::vector<std::int64_t>{0, Long::max(), Long::min(), Long::max(),
                                                         Long::min(), 2147483648, low, last, 0});
    CHECK(as(y.slice(0, 0, 9, 2), DType::u8) == std::vector<std::int64_t>{0, 0, 0, 0, 0});
  }
  for (std::size_t i = 0; i < v.size(); ++i)
    for (const DType to : {DType::u8, DType::i32, DType::i64})
      CHECK(Tensor::full({3}, v[i], to, test_device()).to_vector<std::int64_t>() ==
            std::vector<std::int64_t>(3, as(x, to)[i]));
}

TEST_CASE("shapes that are too large or negative are refused, and empty ones are not") {
  const std::int64_t big = std::int64_t{1} << 40;
  const Tensor x = counting({2, 3});
  CHECK_THROWS_AS(Shape({2, -2}), Error);
  CHECK_THROWS_AS(Shape().push_back(-5), Error);
  CHECK_THROWS_AS(x.reshape({big, big, -1}), Error);
  CHECK_THROWS_AS(x.reshape({big, big, 0, -1}), Error);
  CHECK_THROWS_AS(x.reshape({-1, -1}), Error);
  for (const std::int64_t n : {(std::int64_t{1} << 61) - 1, (std::int64_t{1} << 60) - 1})
    CHECK_THROWS_AS(Tensor::empty({n}, DType::f64, test_device()), Error);
  const Tensor empty = Tensor::empty({0, big, big}, DType::f32, test_device());
  CHECK(empty.numel() == 0);
  CHECK(empty.is_contiguous());
  CHECK(empty.reshape({big, 0}).numel() == 0);
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  CHECK(x.slice(1, 0, 3, most).to_vector<float>() == std::vector<float>{0, 3});
}

TEST_CASE("the allocator reuses blocks and counts live and peak bytes") {
  Backend& backend = tested();
  const std::size_t before = backend.memory().live;
  {
    const Tensor a = Tensor::empty({1000, 1000}, DType::f32, test_device());
    CHECK(backend.memory().live >= before + 4000000);
    CHECK(backend.memory().live < before + 4600000);
  }
  CHECK(backend.memory().live == before);
  backend.reset_peak();
  const std::size_t reserved = backend.memory().reserved;
  for (int i = 0; i < 100; ++i) Tensor::empty({1000, 1000}, DType::f32, test_device());
  CHECK(backend.memory().reserved == reserved);
  CHECK(backend.memory().peak >= before + 4000000);
  CHECK(backend.memory().peak < before + 4600000);
  CHECK_THROWS_WITH_AS(Tensor::empty({std::int64_t{1} << 50}, DType::f32, test_device()),
                       doctest::Contains("out of memory"), Error);
  backend.empty_cache();
  CHECK(backend.memory().reserved < reserved);
}

TEST_CASE("a profile counts the ops of all threads") {
  const Profile profile;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([] {
      for (int i = 0; i < 500; ++i) Tensor::full({2}, 1.0);
    });
  for (std::thread& t : threads) t.join();
  CHECK(profile.ops().at("fill").calls == 2000);
  CHECK_THROWS_AS(Profile(), Error);
}

TEST_CASE("tensors are allocated and freed by many threads") {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t] {
      for (int i = 0; i < 200; ++i) {
        const Tensor x = Tensor::full({100 + 10 * t}, t, DType::f32, test_device());
        if (x.to_vector<float>().back() != static_cast<float>(t)) std::abort();
      }
    });
  for (std::thread& t : threads) t.join();
}

TEST_CASE("names from outside cannot steer a terminal") {
  CHECK(printable("plain name.png") == "plain name.png");
  CHECK(printable("\x1b]0;x\a\r\n\x7f") == "\\x1b]0;x\\x07\\x0d\\n\\x7f");
  CHECK(printable("Straße 道路 😀") == "Straße 道路 😀");
  CHECK(printable("\xc2\x9b"
                  "31m \xe2\x80\xae\xe2\x80\xa8") == "\\u009b31m \\u202e\\u2028");
  CHECK(printable("\xff\xc3(\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80\xe2\x82") ==
        "\\xff\\xc3(\\xc0\\xaf\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80\\xe2\\x82");
  CHECK(printable(std::string_view("\0", 1)) == "\\x00");
}
