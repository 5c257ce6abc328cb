// Feeds damaged and hostile checkpoints to the readers, for as long as one likes:
//   fuzz_checkpoint SECONDS CORPUS [SEED [FOUND]]
// Files of the folder CORPUS are mutated byte by byte and by their structure (zip headers, pickles
// with right check sums, safetensors headers); pickles are also made up from nothing. A mutant that
// ends in a new way (another message, digits aside) joins the pool, and is kept in the folder
// FOUND. Build it with ASan and UBSan; iteration i depends on SEED and i and the pool alone. It
// ends with exit code 1 when anything but InputError comes out, or one file takes over two seconds
// of the processor; a sanitizer's complaint leaves the input in crash.bin.
#include <sys/mman.h>
#include <unistd.h>

#include <cctype>
#include <cstring>
#include <map>

#include "data/files/file.h"
#include "data/weights/weights_file.h"
#include "tests/data/fuzzing.h"
#include "tests/data/torch_builder.h"

using namespace nextgrad;
using namespace nextgrad::testing;

namespace {

// A file in memory that has a path.
class MemoryFile {
 public:
  MemoryFile() : fd_(memfd_create("fuzz", 0)) { check(fd_ >= 0, "no memory file"); }
  ~MemoryFile() { close(fd_); }
  void set(const std::string& bytes) const {
    check(ftruncate(fd_, 0) == 0 &&
              pwrite(fd_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()),
          "cannot write the memory file");
  }
  std::string path() const { return fmt::format("/proc/self/fd/{}", fd_); }

 private:
  int fd_;
};

// The parts of an archive that can still be read.
Parts parts_of(const std::string& path) {
  Parts parts;
  const ZipReader archive{InputFile(path)};
  for (const auto& [name, entry] : archive.entries()) {
    std::vector<std::uint8_t> bytes(entry.size);
    archive.read(name, bytes);
    parts.emplace_back(name, std::string(bytes.begin(), bytes.end()));
  }
  return parts;
}

class Mutator : Draw {
 public:
  Mutator(std::uint64_t seed, std::uint64_t iteration, const std::vector<std::string>& pool,
          const std::string& scratch)
      : Draw(seed, iteration), pool_(pool), scratch_(scratch) {}

  std::string next() {
    const std::string& base = pick(pool_);
    switch (below(8)) {
      case 0:
        return spliced(base, pick(pool_));
      case 1:
        return rezipped({{"x/data.pkl", pk::whole(object(0))},
                         {"x/data/0", std::string(below(64), '\1')},
                         {"x/byteorder", "little"}});
      case 2:
      case 3:
      case 4:
        return structured(base);
      default:
        return damaged(base, 1 + below(8));
    }
  }

 private:
  std::string structured(const std::string& base) {
    if (base.starts_with("PK\x03\x04")) return below(3) == 0 ? headers_changed(base) : zip(base);
    if (base.size() > 9 && base[8] == '{') return safetensors(base);
    // The older format's pickles are at its beginning.
    const std::size_t head = std::min<std::size_t>(base.size(), 200 + below(8000));
    return pickle_changed(base.substr(0, head)) + base.substr(head);
  }

  // A field of a zip header, found by its signature.
  std::string headers_changed(std::string bytes) {
    static const std::vector<std::string> signatures{"PK\x01\x02", "PK\x03\x04", "PK\x05\x06",
                                                     "PK\x07\x08", "PK\x06\x06", "PK\x06\x07"};
    for (std::uint64_t times = 1 + below(3); times > 0; --times) {
      const std::size_t at = bytes.find(pick(signatures), below(2) * place(bytes));
      if (at == std::string::npos) continue;
      const std::int64_t value = odd_number();
      const std::size_t field = at + 4 + 2 * below(24), width = std::size_t{2} << below(3);
      if (field + width <= bytes.size()) std::memcpy(bytes.data() + field, &value, width);
    }
    return bytes;
  }

  std::string zip(const std::string& base) {
    Parts parts;
    try {
      save(scratch_, base);
      parts = parts_of(scratch_);
    } catch (const Error&) {
      return damaged(base, 2);
    }
    for (auto& [name, bytes] : parts) {
      if (name.ends_with("data.pkl"))
        bytes = pickle_changed(bytes);
      else if (below(20) == 0)
        bytes = damaged(bytes, 1);
      if (below(60) == 0) name = damaged(name, 1);
    }
    if (below(20) == 0 && !parts.empty())
      parts.erase(parts.begin() + static_cast<long>(below(parts.size())));
    return rezipped(parts);
  }

  std::string rezipped(const Parts& parts) {
    std::remove(scratch_.c_str());
    write_zip(scratch_, parts);
    const auto bytes = read_file(scratch_);
    return {bytes.begin(), bytes.end()};
  }

  std::string pickle_changed(std::string code) {
    for (std::uint64_t times = 1 + below(4); times > 0; --times) {
      const std::size_t at = place(code);
      switch (below(6)) {
        case 0:
          code.insert(at, object(4));
          break;
        case 1:
          code.insert(at, 1, opcode());
          break;
        case 2:
          if (!code.empty()) code[at] = opcode();
          break;
        case 3:
          code.insert(at, code.substr(place(code), 1 + below(200)));
          break;
        default:
          code = damaged(code, 1);
      }
    }
    return code;
  }

  char opcode() {
    static const std::string codes =
        "(.012FIJKLMNQRTUVXabcdeghijlopqrstu)]}GBC\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e"
        "\x8f\x90\x91\x92\x93\x94\x95\x96\x97\x98";
    return codes[below(codes.size())];
  }

  // A random object of a state dict, or of an attack on its reader.
  std::string object(int depth) {
    static const std::vector<std::string> names{"state_dict", "model", "meta",         "w",
                                                "CLASSES",    "v",     "dataset_meta", "PALETTE"};
    const auto sub = [&] { return object(depth + 1); };
    switch (below(depth > 5 ? 5 : 14)) {
      case 0:
        return pk::big(odd_number());
      case 1:
        return pk::text(pick(names));
      case 2:
        return "N";
      case 3:
        return "q" + std::string(1, static_cast<char>(below(4)));
      case 4:
        return "h" + std::string(1, static_cast<char>(below(4)));
      case 5:
        return pk::tuple({sub(), sub()});
      case 6:
        return "](" + sub() + sub() + "e";
      case 7:
        return pk::evil();
      case 8:
        return pk::call(pk::global("torch._utils", "_rebuild_parameter"),
                        pk::tuple({sub(), "\x88", "}"}));
      case 9:
      case 10:
        return pk::tensor(pk::storage(below(2) == 0 ? "FloatStorage" : "UntypedStorage", "0",
                                      static_cast<std::int64_t>(below(32))),
                          below(4) == 0 ? odd_number() : 0,
                          {static_cast<std::int64_t>(below(5)), below(3) == 0 ? odd_number() : 2},
                          {below(3) == 0 ? odd_number() : 2, 1});
      default: {
        std::vector<std::pair<std::string, std::string>> items;
        for (std::uint64_t n = below(5); n > 0; --n) items.emplace_back(pick(names), sub());
        return pk::dict(items);
      }
    }
  }

  // The header's text is changed and its length put right again.
  std::string safetensors(const std::string& base) {
    std::uint64_t length = 0;
    std::memcpy(&length, base.data(), 8);
    length = std::min<std::uint64_t>(length, base.size() - 8);
    static const std::vector<std::string> words{"\"dtype\":\"F16\"",
                                                "\"shape\":[",
                                                "{",
                                                "}",
                                                "[",
                                                "]",
                                                ",",
                                                "-1",
                                                "1e400",
                                                "18446744073709551615",
                                                "\"__metadata__\":{",
                                                "\"data_offsets\":[0,8]",
                                                "\\ud800"};
    std::string header = base.substr(8, length);
    header = damaged(header, 1 + below(3), words);
    return little_endian(static_cast<std::uint64_t>(header.size())) + header +
           base.substr(8 + length);
  }

  const std::vector<std::string>& pool_;
  const std::string& scratch_;
};

// How it ended: "" or the message without digits, quoted text and the path.
std::string outcome(const MemoryFile& file, const std::string& bytes, bool& bad) {
  file.set(bytes);
  const std::string path = file.path();
  std::string text;
  const auto attempt = [&](const char* who, auto&& read) {
    try {
      read();
      text += fmt::format("{} read; ", who);
    } catch (const InputError& e) {
      const std::string what = e.what();
      bad = bad || what.find(path) != 0 || what.find('\n') != std::string::npos;
      const std::string rest = what.substr(std::min(path.size(), what.size()));
      bool quote = false;
      for (std::size_t i = 0; i < rest.size(); ++i) {
        if (rest[i] == '\\') {
          ++i;  // of an escape in quotes
        } else if (rest[i] == '"') {
          quote = !quote;
        } else if (!quote && std::isxdigit(static_cast<unsigned char>(rest[i])) == 0) {
          text += rest[i];
        }
      }
      text += "; ";
    } catch (const std::exception& e) {
      bad = true;
      text += fmt::format("{} threw {}; ", who, e.what());
    }
  };
  attempt("weights", [&] { read_weights(path); });
  if (!bytes.starts_with("PK")) attempt("safetensors", [&] { read_safetensors(path); });
  return text;
}

Campaign fuzz(double limit, const std::string& corpus, std::uint64_t seed,
              const std::string& found) {
  std::vector<std::string> pool;
  std::map<std::string, std::size_t> ways;
  const MemoryFile file;
  const std::string scratch =
      (std::filesystem::temp_directory_path() / fmt::format("fuzz-{}", getpid())).string();
  for (const std::string& path : list_files(corpus)) {
    const auto bytes = read_file(path);
    pool.emplace_back(bytes.begin(), bytes.end());
  }
  check(!pool.empty(), "{}: no files", corpus);
  Campaign campaign;
  const auto report = [&] {
    campaign.report(fmt::format("{} in the pool, {} ways to end, ", pool.size(), ways.size()));
  };
  double said = 0;
  for (std::uint64_t i = 0; campaign.seconds() < limit; ++i) {
    current = Mutator(seed, i, pool, scratch).next();
    if (current.size() > 1u << 20) continue;
    std::string how;
    campaign.judge(std::to_string(i), [&] {
      bool bad = false;
      how = outcome(file, current, bad);
      return bad ? how : "";
    });
    campaign.read += how.starts_with("weights read");
    if (ways[how]++ == 0 && pool.size() < 5000) {
      pool.push_back(current);
      if (!found.empty()) save(fmt::format("{}/{:04}.bin", found, ways.size()), current);
    }
    if (campaign.seconds() > said) {
      report();
      said += 60;
    }
  }
  std::remove(scratch.c_str());
  report();
  return campaign;
}

}  // namespace

int main(int argc, char** argv) {
  return fuzz_main(argc, argv, 2, "fuzz_checkpoint SECONDS CORPUS [SEED [FOUND]]",
                   [](const auto& a) {
                     return fuzz(std::stod(a[0]), a[1], a.size() > 2 ? std::stoull(a[2]) : 0,
                                 a.size() > 3 ? a[3] : "");
                   });
}
