// What the fuzzers share: how bytes are damaged, how a reader is judged, what is told at the end.
#pragma once

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "tensor/error.h"
#include "tensor/random.h"

extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace nextgrad::testing {

inline std::string current;  // what is being read

inline void save(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// Draws from one stream.
class Draw {
 public:
  Draw(std::uint64_t seed, std::uint64_t i) : random_({.seed = seed, .iteration = i}) {}
  std::uint64_t below(std::uint64_t n) { return random_.below(n); }
  std::size_t place(const std::string& bytes) { return bytes.empty() ? 0 : below(bytes.size()); }
  char byte() { return static_cast<char>(random_.next()); }
  template <class T>
  const T& pick(const std::vector<T>& all) {
    return all[below(all.size())];
  }
  // Numbers at which readers go wrong.
  std::int64_t odd_number() {
    static const std::vector<std::int64_t> odd{
        0,          1,         2,         -1,        127,       128,
        255,        256,       65535,     65536,     1 << 30,   0x7fffffff,
        0xffffffff, 1ll << 32, 1ll << 40, 1ll << 62, INT64_MAX, INT64_MIN};
    return below(4) == 0 ? static_cast<std::int64_t>(below(100)) : pick(odd);
  }

  // The bytes changed so many times; a text also by `words`, other bytes by numbers.
  std::string damaged(std::string bytes, std::uint64_t times,
                      const std::vector<std::string>& words = {}) {
    for (; times > 0; --times) {
      const std::size_t at = place(bytes),
                        n = std::min<std::size_t>(1 + below(16), bytes.size() - at);
      switch (below(8)) {
        case 0:
          bytes.erase(at, n);
          break;
        case 1:
          bytes.insert(at, bytes.substr(place(bytes), 1 + below(64)));
          break;
        case 2:
          bytes.insert(at, 1, byte());
          break;
        case 3:
          bytes.resize(below(2) == 0 ? at : bytes.size() - std::min(bytes.size(), below(40)));
          break;
        case 4:
          bytes.insert(at,
                       words.empty() ? std::string(n, below(2) == 0 ? '\0' : '\xff') : pick(words));
          break;
        case 5:
          if (words.empty()) {
            const std::int64_t value = odd_number();
            const std::size_t width = std::size_t{1} << below(4);
            bytes.replace(at, width, reinterpret_cast<const char*>(&value), width);
          } else {
            bytes.replace(at, n, pick(words));
          }
          break;
        default:
          if (!bytes.empty())
            bytes[at] = below(2) == 0 ? byte() : static_cast<char>(bytes[at] ^ (1 << below(8)));
      }
    }
    return bytes;
  }

  // The beginning of one and the end of another.
  std::string spliced(const std::string& a, const std::string& b) {
    return a.substr(0, place(a)) + b.substr(place(b));
  }

 private:
  RandomStream random_;
};

// What a campaign has seen.
struct Campaign {
  std::uint64_t inputs = 0, read = 0, findings = 0;
  double slowest = 0;
  std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();

  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  // Calls `trouble` while `current` is read: what it says is wrong is a finding, and so are two
  // seconds of the processor (not of the clock: others may want it too). The input is kept.
  void judge(const std::string& name, const std::function<std::string()>& trouble) {
    const std::clock_t started = std::clock();
    std::string what = trouble();
    const double took = static_cast<double>(std::clock() - started) / CLOCKS_PER_SEC;
    ++inputs;
    slowest = std::max(slowest, took);
    if (what.empty() && took > 2) what = fmt::format("took {:.1f} s", took);
    if (what.empty()) return;
    save(fmt::format("finding-{}.bin", name), current);
    if (++findings <= 20) fmt::print("finding {}: {}\n", name, what);
  }
  void report(const std::string& more) const {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    fmt::print(
        "{:.0f} s ({:.0f} s of the processor): {} inputs, {} read, {}{} findings, slowest {:.3f} "
        "s, "
        "peak memory {} MB\n",
        seconds(), static_cast<double>(std::clock()) / CLOCKS_PER_SEC, inputs, read, more, findings,
        slowest, usage.ru_maxrss / 1024);
    std::fflush(stdout);
  }
};

// The main function: fuzz(arguments) gives the campaign. Exit code 1 where it had findings.
inline int fuzz_main(int argc, char** argv, int least, const char* usage,
                     const std::function<Campaign(const std::vector<std::string>&)>& fuzz) {
  if (argc <= least) {
    fmt::print(stderr, "usage: {}\n", usage);
    return 2;
  }
  if (__sanitizer_set_death_callback != nullptr)
    __sanitizer_set_death_callback([] { save("crash.bin", current); });
  try {
    return fuzz({argv + 1, argv + argc}).findings > 0 ? 1 : 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}: {}\n", argv[0], e.what());
    return 1;
  }
}

}  // namespace nextgrad::testing
