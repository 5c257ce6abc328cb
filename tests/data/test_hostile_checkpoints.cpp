// Checkpoints cut, damaged and built to do harm: an error in one line, in bounded memory and time.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <optional>

#include "data/files/file.h"
#include "data/weights/pickle.h"
#include "data/weights/weights_file.h"
#include "tests/data/encoders.h"
#include "tests/data/torch_builder.h"
#include "tests/golden/formula.h"

using namespace nextgrad;
using namespace nextgrad::testing;

namespace {

std::string slurp(const std::string& path) {
  const auto bytes = read_file(path);
  return {bytes.begin(), bytes.end()};
}

// Thousands of files: not flushed to the disk one by one.
void spill(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// Every tensor in one string: name, shape and bits; nothing after an InputError, which must name
// the file in one line.
std::optional<std::string> read(const std::string& path) {
  try {
    const WeightsFile file = read_weights(path);
    std::string all;
    for (std::size_t i = 0; i < file.tensors.size(); ++i) {
      const auto bytes = encode_elements(file.types[i], file.tensors[i].value);
      all += file.tensors[i].name + file.tensors[i].value.shape().str() +
             std::string(bytes.begin(), bytes.end());
    }
    return all;
  } catch (const InputError& e) {
    const std::string what = e.what();
    CHECK(what.find(path) == 0);
    CHECK(what.find('\n') == std::string::npos);
    CHECK(what.size() < 1000);
    return std::nullopt;
  }
}

std::string error_of(const std::string& path) {
  return input_error([&] { read_weights(path); });
}

long peak_kilobytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

const std::string kHooks = pk::call(pk::global("collections", "OrderedDict"), ")");

std::string one_tensor(std::int64_t offset, const std::vector<std::int64_t>& size,
                       const std::vector<std::int64_t>& stride) {
  return pk::dict({{"w", pk::tensor(pk::storage("FloatStorage", "0", 6), offset, size, stride)}});
}

}  // namespace

TEST_CASE("hostile checkpoints: cut after any byte") {
  const TemporaryFolder folder;
  const std::string path = folder / "x";
  write_pth(folder / "small", one_tensor(0, {2, 3}, {3, 1}), {{"0", floats({1, 2, 3, 4, 5, 6})}});
  const std::string golden = (golden::folder() / "checkpoints" / "shared_storage.pth").string();
  for (const std::string& source : {folder / "small", golden}) {
    const std::string whole = slurp(source);
    for (std::size_t n = 0; n < whole.size(); ++n) {
      spill(path, whole.substr(0, n));
      CHECK_FALSE(read(path).has_value());
    }
  }
  // The older format: at every byte of its pickles' beginning, then now and then.
  const std::string legacy = slurp((golden::folder() / "checkpoints" / "legacy.pth").string());
  for (std::size_t n = 0; n < legacy.size(); n += n < 2000 ? 1 : 997) {
    spill(path, legacy.substr(0, n));
    CHECK_FALSE(read(path).has_value());
  }
}

TEST_CASE("hostile checkpoints: any byte changed is an error or changes nothing") {
  const TemporaryFolder folder;
  const std::string path = folder / "x";
  write_pth(folder / "small", one_tensor(0, {2, 3}, {3, 1}), {{"0", floats({1, 2, 3, 4, 5, 6})}});
  const std::string golden = (golden::folder() / "checkpoints" / "shared_storage.pth").string();
  for (const std::string& source : {folder / "small", golden}) {
    const std::string whole = slurp(source);
    const std::string truth = read(source).value();
    int accepted = 0;
    for (std::size_t n = 0; n < whole.size(); ++n)
      for (const int flip : {0x01, 0x80, 0xff}) {
        std::string damaged = whole;
        damaged[n] = static_cast<char>(damaged[n] ^ flip);
        spill(path, damaged);
        const auto result = read(path);
        if (result.has_value()) {
          CHECK(*result == truth);
          ++accepted;
        }
      }
    // Times, versions and padding do not matter; all else does.
    CHECK(accepted < static_cast<int>(whole.size()));
  }
}

TEST_CASE("hostile checkpoints: tensors beyond their storage") {
  const TemporaryFolder folder;
  const std::string path = folder / "x";
  const Parts storages{{"0", floats({1, 2, 3, 4, 5, 6})}};
  using Numbers = std::vector<std::int64_t>;
  constexpr std::int64_t huge = std::int64_t{1} << 62, big = std::int64_t{1} << 39;
  const std::tuple<std::int64_t, Numbers, Numbers> bad[] = {{1, {6}, {1}},
                                                            {0, {7}, {1}},
                                                            {0, {2}, {6}},
                                                            {-1, {2}, {1}},
                                                            {0, {-2}, {1}},
                                                            {3, {2}, {-1}},
                                                            {0, {2, 3}, {1}},
                                                            {0, {huge}, {0}},
                                                            {huge, {1}, {1}},
                                                            {0, {big, big}, {0, 0}},
                                                            {0, {2}, {huge}},
                                                            {0, {big, 2}, {big, big}},
                                                            {0, Numbers(9, 1), Numbers(9, 1)},
                                                            {7, {}, {}}};
  for (const auto& [offset, size, stride] : bad) {
    write_pth(path, one_tensor(offset, size, stride), storages);
    CHECK_FALSE(read(path).has_value());
  }
  write_pth(path, one_tensor(5, {}, {}), storages);  // a scalar at the last place
  CHECK(read(path).has_value());
  write_pth(path, one_tensor(6, {0, 4}, {4, 1}), storages);  // nothing at the end
  CHECK(read(path).has_value());
  write_pth(path, one_tensor(0, {3, 4}, {0, 0}), storages);  // an expanded number
  CHECK(read(path).has_value());
  // The archive and the pickle must agree on the storage's size; its type must be known.
  write_pth(path, one_tensor(0, {6}, {1}), {{"0", floats({1, 2, 3})}});
  CHECK_FALSE(read(path).has_value());
  write_pth(path, one_tensor(0, {6}, {1}), {{"1", floats({1, 2, 3, 4, 5, 6})}});
  CHECK_FALSE(read(path).has_value());
  write_pth(path,
            pk::dict({{"w", pk::tensor(pk::storage("ComplexFloatStorage", "0", 3), 0, {3}, {1})}}),
            storages);
  CHECK(error_of(path).find("ComplexFloatStorage") != std::string::npos);
  write_pth(path,
            pk::dict({{"w", pk::tensor(pk::storage("FloatStorage", "0", 6), 0, {6}, {1})},
                      {"v", pk::tensor(pk::storage("LongStorage", "0", 3), 0, {3}, {1})}}),
            storages);
  CHECK(error_of(path).find("two ways") != std::string::npos);
}

TEST_CASE("hostile checkpoints: memory and time stay in proportion to the file") {
  const TemporaryFolder folder;
  const std::string path = folder / "x";
  const long before = peak_kilobytes();
  // A hundred thousand tensors that each show a storage of 1 MB, from the memo.
  const std::string numbers(1 << 20, '\0');
  std::string bomb = pk::dict({}) + "(";
  const auto memo = [](std::uint32_t n) { return "j" + little_endian(n); };
  bomb += pk::text("a") + pk::tensor(pk::storage("FloatStorage", "0", 1 << 18), 0, {1 << 18}, {1}) +
          "r" + little_endian(0u);
  for (int i = 0; i < 100000; ++i) bomb += pk::text(std::to_string(i)) + memo(0);
  write_pth(path, bomb + "u", {{"0", numbers}});
  CHECK(error_of(path).find("share") != std::string::npos);
  // A number expanded to 2^39.
  write_pth(path, one_tensor(0, {1 << 20, 1 << 19}, {0, 0}), {{"0", floats({1, 2, 3, 4, 5, 6})}});
  CHECK(error_of(path).find("share") != std::string::npos);
  // Names made long by repetition.
  std::string names = "}" + pk::text(std::string(1 << 16, 'x')) + "r" + little_endian(1u) + "0(";
  for (int i = 0; i < 20000; ++i) names += memo(1) + memo(1) + "\x93";
  write_pth(path, names + "u");
  CHECK_FALSE(read(path).has_value());
  // OrderedDict of one long list, again and again.
  std::string lists = "](";
  for (int i = 0; i < 10000; ++i) lists += "N\x4e\x86";
  lists += "er" + little_endian(2u) + "0]" + "(";
  for (int i = 0; i < 10000; ++i)
    lists += pk::global("collections", "OrderedDict") + memo(2) + "\x85R";
  write_pth(path, lists + "e");
  CHECK_FALSE(read(path).has_value());
  // Millions of empty objects.
  write_pth(path, "](" + std::string(5u << 20, ']') + "e");
  CHECK(error_of(path).find("objects") != std::string::npos);
  CHECK(peak_kilobytes() - before < 1000000 * kSanitizerCost);
}

TEST_CASE("hostile checkpoints: nesting and recursion") {
  const TemporaryFolder folder;
  const std::string path = folder / "x";
  const auto tensor = pk::tensor(pk::storage("FloatStorage", "0", 1), 0, {1}, {1});
  const auto reads = [&](const std::string& meta, bool inside) {
    const auto weights =
        inside ? pk::dict({{"w", tensor}, {"v", meta}}) : pk::dict({{"w", tensor}});
    write_pth(path, pk::dict({{"meta", inside ? "N" : meta}, {"state_dict", weights}}),
              {{"0", floats({1})}});
    return read(path).has_value();
  };
  constexpr int deep = 200000;
  std::string tuples = "N", lists, marks(deep, '(');
  for (int i = 0; i < deep; ++i) tuples += '\x85';
  lists = std::string(deep, ']') + "N" + std::string(deep, 'a');
  const std::string self_list =
      "]q\x01h\x01"
      "a";
  const std::string self_dict = "}q\x01" + pk::text("k") + "h\x01s";
  const std::string self_call = "]q\x01(" + pk::global("os", "system") + "h\x01\x85Re";
  for (const auto& value : {tuples, lists, self_list, self_dict, self_call}) {
    CHECK(reads(value, false));
    CHECK(reads(value, true) == (value != self_call));
  }
  CHECK_FALSE(reads(marks, false));
  // Parameters of parameters of ...
  std::string nested = tensor;
  for (int i = 0; i < 1000; ++i)
    nested =
        pk::global("torch._utils", "_rebuild_parameter") + "(" + nested + "\x88" + kHooks + "tR";
  CHECK_FALSE(reads(nested, true));
  // A parameter of itself.
  CHECK_FALSE(reads(pk::global("torch._utils", "_rebuild_parameter") + "]q\x05h\x05"
                                                                       "a(h\x05\x88tR",
                    true));
  // A state dict that contains itself.
  write_pth(path, "}q\x01" + pk::text("state_dict") + "h\x01s");
  CHECK_FALSE(read(path).has_value());
}

TEST_CASE("hostile checkpoints: damaged pickles") {
  const auto fails = [](const std::string& code) {
    const FileBytes bytes(code.begin(), code.end());
    return !input_error([&] { parse_pickle(bytes); }).empty();
  };
  CHECK_FALSE(fails("N."));
  CHECK_FALSE(fails("\x80\x05\x95" + little_endian(std::uint64_t{2}) + "N."));
  for (const std::string& bad : {std::string(""),
                                 std::string("."),
                                 std::string("N"),
                                 std::string("N.").substr(0, 1),
                                 std::string("\x80\x06N."),
                                 std::string("\x80"),
                                 std::string("t."),
                                 std::string("(a."),
                                 std::string("N(.."),
                                 std::string("NNs."),
                                 std::string("}Ns."),
                                 std::string("}(Nu."),
                                 std::string("N(NNu."),
                                 std::string("](NNs."),
                                 std::string("h\x01."),
                                 std::string("q\x01."),
                                 std::string("R."),
                                 std::string("NR."),
                                 std::string("0."),
                                 std::string("(1."),
                                 std::string("\x86."),
                                 std::string("N\x93."),
                                 std::string("NN\x93."),
                                 std::string("cos."),
                                 std::string("cos\nsystem"),
                                 std::string("I12x\n."),
                                 std::string("I99999999999999999999999\n."),
                                 std::string("Q."),
                                 std::string("(o."),
                                 std::string("ios\nsystem\n."),
                                 std::string("\x82\x01."),
                                 std::string("Pid\n."),
                                 std::string("X\xff\xff\xff\xff."),
                                 std::string("T\xff\xff\xff\xff."),
                                 "\x8d" + little_endian(~std::uint64_t{0}) + ".",
                                 "\x8d" + little_endian(std::uint64_t{1} << 63) + ".",
                                 "\x8b" + little_endian(std::int32_t{-1}) + ".",
                                 "\x95" + little_endian(~std::uint64_t{0}) + "N.",
                                 std::string("S'a'\n."),
                                 std::string("F1.x\n."),
                                 std::string("N(N0."),
                                 std::string("\x97.")}) {
    CAPTURE(bad);
    CHECK(fails(bad));
  }
  const auto value = [](const std::string& code) {
    const FileBytes bytes(code.begin(), code.end());
    const Pickle p = parse_pickle(bytes);
    CHECK(p.bytes == code.size());
    return p.top();
  };
  CHECK(value("K\xff.").integer == 255);
  CHECK(value("J\xfe\xff\xff\xff.").integer == -2);
  CHECK(value("M\x01\x02.").integer == 513);
  CHECK(value(std::string("\x8a\x00.", 3)).integer == 0);
  CHECK(value("\x8a\x01\x80.").integer == -128);
  CHECK(value(std::string("\x8a\x02\xff\x00.", 5)).integer == 255);
  CHECK(value("\x8a\x09" + std::string(9, '\x01') + ".").kind == Pickle::Kind::big);
  CHECK(value("I01\n.").kind == Pickle::Kind::boolean);
  CHECK(value("L-5L\n.").integer == -5);
  CHECK(value("F-2.5\n.").real() == -2.5);
  CHECK(value(std::string("G\x40\x09\x21\xfb\x54\x44\x2d\x18.", 10)).real() == M_PI);
  CHECK(value("U\x01z.").text == "z");
  CHECK(value("C\x01z.").kind == Pickle::Kind::bytes);
  CHECK(value("\x8f(NN\x90.").items.size() == 2);
  CHECK(value("(NNd.").kind == Pickle::Kind::dict);
  CHECK(value("(NNl.").items.size() == 2);
  CHECK(value("N(NN1.").kind == Pickle::Kind::none);
  CHECK(value("N20.").kind == Pickle::Kind::none);
  CHECK(value("]p7\n0g7\n.").kind == Pickle::Kind::list);
  CHECK(value(std::string("]\x94"
                          "0h\x00.",
                          6))
            .kind == Pickle::Kind::list);
}

namespace {

// Where the n-th header with this signature begins.
std::size_t header(const std::string& zip, const std::string& signature, int n) {
  std::size_t at = zip.find(signature);
  for (; n > 0; --n) at = zip.find(signature, at + 1);
  REQUIRE(at != std::string::npos);
  return at;
}

template <class T>
void put(std::string& bytes, std::size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof(value));
}

template <class T>
T get(const std::string& bytes, std::size_t at) {
  T value{};
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return value;
}

const std::string kLocal = "PK\x03\x04", kCentral = "PK\x01\x02", kEnd = "PK\x05\x06";

}  // namespace

TEST_CASE("hostile archives: directories that lie") {
  const TemporaryFolder folder;
  const std::string path = folder / "x";
  write_pth(folder / "good", one_tensor(0, {2, 3}, {3, 1}), {{"0", floats({1, 2, 3, 4, 5, 6})}});
  const std::string good = slurp(folder / "good");
  const auto error = [&](const std::function<void(std::string&)>& change) {
    std::string bytes = good;
    change(bytes);
    spill(path, bytes);
    CHECK_FALSE(read(path).has_value());
    return error_of(path);
  };
  const auto has = [](const std::string& text, const char* part) {
    CAPTURE(text);
    return text.find(part) != std::string::npos;
  };
  // Entries in order: data.pkl, byteorder, data/0, version.
  const std::size_t first = header(good, kCentral, 0), third = header(good, kCentral, 2),
                    fourth = header(good, kCentral, 3), end = header(good, kEnd, 0);
  // Two entries of the directory lead to one place.
  CHECK(has(error([&](std::string& b) { put(b, fourth + 42, get<std::uint32_t>(b, third + 42)); }),
            "inconsistent"));
  CHECK(has(error([&](std::string& b) {  // the same entry twice, under one name
              const std::string entry = b.substr(third, fourth - third);
              b.insert(fourth, entry);
              put(b, end + entry.size() + 8, std::uint16_t{5});
              put(b, end + entry.size() + 10, std::uint16_t{5});
              put(b, end + entry.size() + 12,
                  static_cast<std::uint32_t>(get<std::uint32_t>(b, end + entry.size() + 12) +
                                             entry.size()));
            }),
            "two entries"));
  // The same change in both headers of an entry.
  const auto both = [&](std::size_t central, std::size_t field, auto value) {
    return error([&](std::string& b) {
      const auto local = get<std::uint32_t>(b, central + 42);
      put(b, central + field, value);
      put(b, local + field - 2, value);
      if (field != 20) return;
      put(b, central + 24, value);
      put(b, local + 22, value);
    });
  };
  // An entry whose bytes cover the next one's header.
  CHECK(has(both(first, 20, get<std::uint32_t>(good, first + 20) + 100), "check sum"));
  CHECK(has(both(third, 20, std::uint32_t{0xfffffff0}), "damaged zip archive"));  // or all
  CHECK(has(both(third, 10, std::uint16_t{8}), "compressed"));
  CHECK(has(both(third, 8, std::uint16_t{1}), "encrypted"));
  CHECK(has(both(third, 24, std::uint32_t{23}), "has 23 bytes"));  // of two sizes
  // In one of them, or a place beyond the file.
  for (const std::size_t field : {10, 16, 20, 24, 42})
    CHECK(has(error([&](std::string& b) { put(b, third + field, std::uint32_t{0xfffffff0}); }),
              "damaged zip archive"));
  // The end record: where the directory begins, its bytes, its entries, its disk.
  for (const auto& [at, value] : {std::pair{16, 0}, {12, 0}, {8, 65000}, {8, 3}, {4, 1}})
    CHECK(has(error([&](std::string& b) {
                put(b, end + at, static_cast<std::uint16_t>(value));
                if (at == 8) put(b, end + 10, static_cast<std::uint16_t>(value));
              }),
              "damaged zip archive"));
  CHECK(has(error([&](std::string& b) { b += "more"; }), "directory is missing"));
  CHECK(
      has(error([&](std::string& b) { b.erase(0, header(b, kLocal, 1)); }), "damaged zip archive"));
  // An entry within another's bytes, each right in itself: n of them would be read n times.
  write_zip(folder / "inner", {{"x/data/1", std::string(2000, 'i')}});
  const std::string inner = slurp(folder / "inner");
  const std::size_t record = header(inner, kCentral, 0);
  std::string outer = inner.substr(0, record), central = inner.substr(record);
  central.resize(header(central, kEnd, 0));
  write_zip(folder / "outer", {{"x/data.pkl", pk::whole("N")}, {"x/data/0", outer}});
  std::string nested = slurp(folder / "outer");
  put(central, 42, static_cast<std::uint32_t>(nested.find(outer)));
  const std::size_t last = header(nested, kEnd, 0);
  for (const std::size_t field : {8, 10}) put(nested, last + field, std::uint16_t{3});
  put(nested, last + 12,
      static_cast<std::uint32_t>(get<std::uint32_t>(nested, last + 12) + central.size()));
  nested.insert(last, central);
  spill(path, nested);
  CHECK(has(error_of(path), "no room in the file beside the other entries"));
  // A comment at the end is allowed.
  std::string comment = good + "hello";
  put(comment, end + 20, std::uint16_t{5});
  spill(path, comment);
  CHECK(read(path) == read(folder / "good"));
  // One end record after the other, each of a directory of its own.
  std::string ends;
  for (int i = 0; i < 1000; ++i) ends += good.substr(end);
  CHECK(has(error([&](std::string& b) { b.insert(end, ends); }), "damaged zip archive"));
}

TEST_CASE("hostile checkpoints: the corpus of the fuzzer") {
  // Files on which the readers end in different ways (tests/data/fuzz_checkpoint.cpp found them).
  const TemporaryFolder folder;
  int files = 0, readable = 0;
  const auto corpus = golden::folder().parent_path() / "data" / "corpus";
  for (const std::string& path : list_files(corpus.string())) {
    CAPTURE(path);
    readable += read(path).has_value();
    ++files;
  }
  CHECK(files > 20);
  CHECK(readable > 0);
  CHECK(readable < files / 2);
}
