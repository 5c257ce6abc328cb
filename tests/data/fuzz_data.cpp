// Feeds damaged pictures, labels, descriptions and lists to the readers, for as long as one likes:
//   fuzz_data SECONDS [SEED [INPUTS]]
// ends after so many seconds, or inputs if that is sooner. Mutants of files that it writes itself;
// a PNG's check sums are put right, so that damage goes deeper. Build it with ASan and UBSan; input
// i depends on SEED and i alone. It ends with exit code 1 when anything but an InputError of one
// line that names the file comes out, or one input takes over two seconds of the processor; a
// sanitizer's complaint leaves the input in crash.bin.
#include <zlib.h>

#include "data/datasets/dataset.h"
#include "data/files/file.h"
#include "tests/data/encoders.h"
#include "tests/data/fuzzing.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;

namespace {

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

FileBytes mutate(const std::vector<FileBytes>& pool, Draw& draw) {
  const auto pick = [&] {
    const FileBytes& file = draw.pick(pool);
    return std::string(file.begin(), file.end());
  };
  std::string bytes = pick();
  if (draw.below(8) == 0) bytes = draw.spliced(bytes, pick());
  FileBytes file = bytes_of(draw.damaged(std::move(bytes), 1 + draw.below(5)));
  if (file.size() > 8 && file[1] == 'P' && draw.below(4) != 0) mend_png(file);
  current.assign(file.begin(), file.end());
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

  // What is wrong with input i; "" if all is well.
  std::string run(std::uint64_t i) {
    Draw draw(seed_, i);
    const std::uint64_t kind = draw.below(10);
    if (kind == 0) return describe("data.toml", texts(), draw);
    if (kind == 1)
      return describe("list.txt", {bytes_of("\xef\xbb\xbfimg/x0.png ann/x0.png\r\na b\\x1\r\n")},
                      draw);
    const FileBytes file = mutate(pictures_, draw);
    return all({[&] { decode_image(file, "name"); }, [&] { decode_label(file, "name"); },
                [&] {
                  const std::map<int, std::uint8_t> classes{{0, 1}, {3, 2}, {771, 3}};
                  decode_label(file, "name", &classes);
                },
                [&] {
                  decode_image_part(file, "name", {3, 2, 5, 4}, 9, 11);
                },
                [&] {
                  decode_image_part(file, "name", {30, 20, 8, 8}, 80, 112, 2);
                },
                [&] {
                  decode_image_part(file, "name", {10, 20, 8, 8}, 40, 56);
                }},
               "name: ");
  }
  std::uint64_t read = 0, refused = 0;

 private:
  std::string describe(const std::string& name, const std::vector<FileBytes>& pool, Draw& draw) {
    const FileBytes file = mutate(pool, draw), before = read_file(folder_ / name);
    write_file_atomic(folder_ / name, file);
    const std::string wrong =
        all({[&] {
               const auto data = make_dataset({"folder", folder_ / "data.toml"}, "train");
               for (std::int64_t i = 0; i < data->size(); ++i) data->load(i);
             },
             [&] {
               dataset_splits({"folder", folder_ / "data.toml"});
             }},
            "");
    write_file_atomic(folder_ / name, before);
    return wrong;
  }

  std::string all(const std::vector<std::function<void()>>& calls, const std::string& begin) {
    std::string wrong;
    for (const auto& call : calls) {
      try {
        call();
        ++read;
      } catch (const InputError& e) {
        ++refused;
        if (!std::string_view(e.what()).starts_with(begin)) wrong = e.what();
      } catch (const std::exception& e) {
        wrong = fmt::format("threw {}", e.what());
      }
    }
    return wrong;
  }

  std::uint64_t seed_;
  std::vector<FileBytes> pictures_;
  TemporaryFolder folder_;
};

Campaign fuzz(double seconds, std::uint64_t seed, std::uint64_t inputs) {
  Fuzzer fuzzer(seed);
  Campaign campaign;
  while (campaign.inputs < inputs && campaign.seconds() < seconds)
    campaign.judge(std::to_string(campaign.inputs), [&] { return fuzzer.run(campaign.inputs); });
  campaign.read = fuzzer.read;
  campaign.report(fmt::format("{} refused, ", fuzzer.refused));
  return campaign;
}

}  // namespace

int main(int argc, char** argv) {
  return fuzz_main(argc, argv, 1, "fuzz_data SECONDS [SEED [INPUTS]]", [](const auto& a) {
    return fuzz(std::stod(a[0]), a.size() > 1 ? std::stoull(a[1]) : 0,
                a.size() > 2 ? std::stoull(a[2]) : ~std::uint64_t{0});
  });
}
