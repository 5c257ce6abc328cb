// Feeds damaged pictures, labels, descriptions and lists to the readers, for as long as one likes:
//   fuzz_data SECONDS [SEED [INPUTS]]
// ends after so many seconds, or inputs if that is sooner. Mutants of files that it writes itself;
// a PNG's check sums are put right, so that damage goes deeper. Build it with ASan and UBSan; input
// i depends on SEED and i alone. It ends with exit code 1 when anything but an InputError of one
// line that names the file comes out, or one input takes over two seconds of the processor; a
// sanitizer's complaint leaves the input in crash.bin.
#include <sys/resource.h>
#include <zlib.h>

#include <chrono>
#include <cstring>
#include <ctime>
#include <fstream>
#include <functional>
#include <iterator>

#include "data/datasets/dataset.h"
#include "data/files/file.h"
#include "tests/data/encoders.h"
#include "tests/data/support.h"

extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

using namespace nextgrad;
using namespace nextgrad::testing;

namespace {

FileBytes current;  // what is being read

void save(const std::string& path) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(current.data()),
             static_cast<std::streamsize>(current.size()));
}
void save_crash() {
  save("crash.bin");
}

std::vector<FileBytes> pictures() {
  const Image noise = noise_image(9, 11, 5), smooth = smooth_image(40, 56);
  FileBytes ppm = bytes_of("P6 # c\n11 9 255\n"), pgm = bytes_of("P5 11 27 65535 ");
  ppm.insert(ppm.end(), noise.pixels.begin(), noise.pixels.end());
  pgm.insert(pgm.end(), noise.pixels.begin(), noise.pixels.end());
  pgm.insert(pgm.end(), noise.pixels.begin(), noise.pixels.end());
  FileBytes profile = encode_png(noise), packed = bytes_of(std::string("icc\0\0", 5));
  const FileBytes deflated{0x78, 0x9c, 0x63, 0x60, 0x60, 0x60, 0, 0, 0, 4, 0, 1};
  packed.insert(packed.end(), deflated.begin(), deflated.end());
  for (const char* type : {"zTXt", "iCCP"}) {
    const FileBytes chunk = png_chunk(type, packed);
    profile.insert(profile.begin() + 33, chunk.begin(), chunk.end());
  }
  return {encode_png(noise),
          encode_png(noise_label(9, 11, 7, 1), Palette(7)),
          encode_png(noise_label(9, 11, 7, 1)),
          png_file({13, 9, 8, 2, true}, FileBytes(13 * 9 * 3, 9)),
          png_file({9, 4, 2, 0}, FileBytes(12, 0xb1)),
          png_file({4, 3, 16, 0}, FileBytes(24, 3)),
          png_file({4, 3, 8, 6}, FileBytes(48, 3)),
          with_exif(encode_png(noise), 6, false),
          with_exif(encode_png(noise), 3, true),
          profile,
          encode_jpeg(smooth),
          jpeg_file({3, true}, 40, 56, smooth.pixels),
          jpeg_file({4}, 4, 4, FileBytes(64, 77)),
          jpeg_file({1}, 40, 168, smooth.pixels),
          with_orientation(encode_jpeg(smooth), 6, true),
          bmp_file(noise, 24, false),
          bmp_file(noise, 32, true),
          bmp_file(noise, 8, true),
          bmp_with_masks(3, 16, {0xf800, 0x07e0, 0x001f}, {1, 2, 3, 4, 5, 6}),
          bmp_with_masks(2, 32, {0x3ff00000, 0xffc00, 0x3ff}, {1, 2, 3, 4}),
          ppm,
          pgm};
}

const std::vector<FileBytes>& texts() {
  static const std::vector<FileBytes> all{
      bytes_of(
          "classes = [\"leaf\", \"stem\"]\npalette = [[0, 200, 0], [200, 120, 0]]\n"
          "ignore_colors = [[1, 2, 3]]\nignore_label = 9\nreduce_zero_label = true\n"
          "image_suffix = \".png\"\nlabel_suffix = \".png\"\n[train]\nimages = \"img\"\n"
          "labels = \"ann\"\nlist = \"list.txt\"\n[val]\nimages = \"img\"\nlabels = \"ann\"\n"),
      bytes_of("classes = [\"a\", \"b\"]\n[train]\nimages = \"img\"\nlabels = \"ann\"\n"
               "[values]\n0 = \"a\"\n128 = \"ignore\"\n65535 = \"b\"\n")};
  return all;
}

// Right check sums for whatever chunks there are.
void mend_png(FileBytes& png) {
  for (std::size_t at = 8; at + 12 <= png.size();) {
    const std::size_t length = std::size_t{png[at]} << 24 | std::size_t{png[at + 1]} << 16 |
                               std::size_t{png[at + 2]} << 8 | png[at + 3];
    if (length > png.size() - at - 12) return;
    const auto sum = static_cast<std::uint32_t>(
        ::crc32(0, png.data() + at + 4, static_cast<unsigned>(length + 4)));
    for (std::size_t i = 0; i < 4; ++i)
      png[at + 8 + length + i] = static_cast<std::uint8_t>(sum >> 8 * (3 - i));
    at += length + 12;
  }
}

FileBytes mutate(const std::vector<FileBytes>& pool, RandomStream& random) {
  FileBytes file = pool[random.below(pool.size())];
  for (std::uint64_t n = 1 + random.below(5); n > 0 && !file.empty(); --n) {
    const auto at = static_cast<std::ptrdiff_t>(random.below(file.size()));
    const auto length =
        static_cast<std::ptrdiff_t>(random.below(std::min<std::uint64_t>(file.size(), 40)));
    const auto end = std::min<std::ptrdiff_t>(at + length, std::ssize(file));
    const FileBytes& other = pool[random.below(pool.size())];
    switch (random.below(7)) {
      case 0:
        file[static_cast<std::size_t>(at)] ^= static_cast<std::uint8_t>(1u << random.below(8));
        break;
      case 1:
        file[static_cast<std::size_t>(at)] = static_cast<std::uint8_t>(random.next());
        break;
      case 2:
        file.erase(file.begin() + at, file.begin() + end);
        break;
      case 3: {
        const FileBytes part(file.begin() + at, file.begin() + end);
        file.insert(file.begin() + static_cast<std::ptrdiff_t>(random.below(file.size())),
                    part.begin(), part.end());
        break;
      }
      case 4:
        file.resize(static_cast<std::size_t>(at));
        break;
      case 5:
        std::fill(file.begin() + at, file.begin() + end, random.below(2) == 0 ? 0 : 255);
        break;
      default: {
        const auto from = static_cast<std::ptrdiff_t>(random.below(other.size()));
        file.insert(file.begin() + at, other.begin() + from,
                    other.begin() + std::min<std::ptrdiff_t>(from + length, std::ssize(other)));
      }
    }
  }
  if (file.size() > 8 && file[1] == 'P' && random.below(4) != 0) mend_png(file);
  return file;
}

class Fuzzer {
 public:
  explicit Fuzzer(std::uint64_t seed) : seed_(seed), pictures_(pictures()) {
    set_max_pixels(1 << 22);
    for (const char* name : {"x0", "a b/x1"}) {
      write_png(folder_ / fmt::format("img/{}.png", name), noise_image(2, 2, 1));
      write_png(folder_ / fmt::format("ann/{}.png", name), LabelMap{2, 2, {0, 1, 2, 9}});
    }
    write_file_atomic(folder_ / "list.txt", std::string_view("x0\na b/x1.png\n"));
    write_file_atomic(folder_ / "data.toml", texts().front());
  }

  // Whether all is well with input i.
  bool run(std::uint64_t i) {
    RandomStream random({seed_, i});
    const std::uint64_t kind = random.below(10);
    if (kind == 0) return describe("data.toml", texts(), random);
    if (kind == 1)
      return describe("list.txt", {bytes_of("\xef\xbb\xbfimg/x0.png ann/x0.png\r\na b\\x1\r\n")},
                      random);
    current = mutate(pictures_, random);
    return all({[] { decode_image(current, "name"); }, [] { decode_label(current, "name"); },
                [] {
                  decode_label(current, "name", {{0, 1}, {3, 2}, {771, 3}});
                },
                [] {
                  decode_image_part(current, "name", {3, 2, 5, 4}, 9, 11);
                },
                [] {
                  decode_image_part(current, "name", {30, 20, 8, 8}, 80, 112, 2);
                },
                [] {
                  decode_image_part(current, "name", {10, 20, 8, 8}, 40, 56);
                }},
               "name: ");
  }
  std::uint64_t read = 0, refused = 0;

 private:
  bool describe(const std::string& name, const std::vector<FileBytes>& pool, RandomStream& random) {
    current = mutate(pool, random);
    const FileBytes before = read_file(folder_ / name);
    write_file_atomic(folder_ / name, current);
    const bool well =
        all({[&] {
               const auto data = make_dataset({"folder", folder_ / "data.toml"}, "train");
               for (std::int64_t i = 0; i < data->size(); ++i) data->load(i);
             },
             [&] {
               dataset_splits({"folder", folder_ / "data.toml"});
             }},
            "");
    write_file_atomic(folder_ / name, before);
    return well;
  }

  bool all(const std::vector<std::function<void()>>& calls, const std::string& begin) {
    bool well = true;
    for (const auto& call : calls) {
      try {
        call();
        ++read;
      } catch (const InputError& e) {
        ++refused;
        well = well && std::string_view(e.what()).starts_with(begin);
      } catch (const std::exception& e) {
        fmt::print("{}\n", e.what());
        well = false;
      }
    }
    return well;
  }

  std::uint64_t seed_;
  std::vector<FileBytes> pictures_;
  TemporaryFolder folder_;
};

int fuzz(double seconds, std::uint64_t seed, std::uint64_t inputs) {
  Fuzzer fuzzer(seed);
  std::uint64_t i = 0, findings = 0;
  double slowest = 0;
  const auto begin = std::chrono::steady_clock::now();
  const auto passed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  for (; i < inputs && passed() < seconds; ++i) {
    const std::clock_t started = std::clock();
    const bool well = fuzzer.run(i);
    const double took = static_cast<double>(std::clock() - started) / CLOCKS_PER_SEC;
    slowest = std::max(slowest, took);
    if (well && took <= 2) continue;
    fmt::print("finding at {}, {:.2f} s\n", i, took);
    save(fmt::format("finding-{}.bin", findings++));
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  fmt::print(
      "{:.0f} s ({:.0f} s of the processor): {} inputs, {} read, {} refused, {} findings, slowest "
      "{:.3f} s, peak memory {} MB\n",
      passed(), static_cast<double>(std::clock()) / CLOCKS_PER_SEC, i, fuzzer.read, fuzzer.refused,
      findings, slowest, usage.ru_maxrss / 1024);
  return findings > 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: fuzz_data SECONDS [SEED [INPUTS]]\n");
    return 2;
  }
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(save_crash);
  try {
    return fuzz(std::stod(argv[1]), argc > 2 ? std::stoull(argv[2]) : 0,
                argc > 3 ? std::stoull(argv[3]) : ~std::uint64_t{0});
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
}
