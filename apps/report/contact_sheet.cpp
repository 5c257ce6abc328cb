#include "apps/report/contact_sheet.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <set>

#include "data/augment/random_use.h"
#include "data/images/palette.h"
#include "data/images/resize.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

constexpr std::int64_t kGap = 8;
constexpr Color kInk{0, 0, 0};
constexpr std::uint8_t kPaper = 255;

// Fills a rectangle; what leaves the picture is cut.
void fill(Image& image, const Rectangle& part, const Color& color) {
  const std::int64_t bottom = std::min(part.top + part.height, image.height);
  const std::int64_t right = std::min(part.left + part.width, image.width);
  for (std::int64_t y = std::max<std::int64_t>(part.top, 0); y < bottom; ++y)
    for (std::int64_t x = std::max<std::int64_t>(part.left, 0); x < right; ++x)
      std::copy(color.begin(), color.end(), image.pixels.begin() + 3 * (y * image.width + x));
}

// Capitals, digits and a few signs of 3 x 5 dots, drawn twice as large.
struct Letter {
  char character;
  const char* rows;  // five octal digits, one a row, the highest bit to the left
};

constexpr Letter kLetters[] = {
    {'A', "25755"}, {'B', "65656"}, {'C', "34443"}, {'D', "65556"}, {'E', "74647"}, {'F', "74644"},
    {'G', "34553"}, {'H', "55755"}, {'I', "72227"}, {'J', "11152"}, {'K', "55655"}, {'L', "44447"},
    {'M', "57755"}, {'N', "65555"}, {'O', "25552"}, {'P', "65644"}, {'Q', "25563"}, {'R', "65655"},
    {'S', "34216"}, {'T', "72222"}, {'U', "55557"}, {'V', "55552"}, {'W', "55775"}, {'X', "55255"},
    {'Y', "55222"}, {'Z', "71247"}, {'0', "75557"}, {'1', "26227"}, {'2', "61247"}, {'3', "61216"},
    {'4', "55711"}, {'5', "74616"}, {'6', "34757"}, {'7', "71222"}, {'8', "75757"}, {'9', "75716"},
    {'-', "00700"}, {'_', "00007"}, {'.', "00002"}, {',', "00024"}, {'/', "11244"}, {'(', "12221"},
    {')', "42224"}, {'+', "02720"}, {'&', "25256"}, {'\'', "22000"}};

const char* rows_of(char c) {
  const auto upper = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  for (const Letter& letter : kLetters)
    if (letter.character == upper) return letter.rows;
  return "00000";
}

// Lays a picture, which fits, over another.
void lay(Image& sheet, const Image& picture, std::int64_t x, std::int64_t y) {
  for (std::int64_t row = 0; row < picture.height; ++row)
    std::copy_n(picture.pixels.begin() + row * picture.width * 3, picture.width * 3,
                sheet.pixels.begin() + ((y + row) * sheet.width + x) * 3);
}

// A sample after augmentation, as a picture again, no larger than the cell.
Sample augmented(const Sample& sample, const TrainTransform& t, const RandomKey& key,
                 std::int64_t cell) {
  const auto n = static_cast<std::size_t>(t.crop_h * t.crop_w);
  std::vector<float> values(3 * n);
  std::vector<std::int32_t> labels(n);
  t.apply(sample.image, sample.label, key, values, labels);
  Sample a{"", {t.crop_h, t.crop_w, {}}, {t.crop_h, t.crop_w, {}}};
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float v = values[i] * t.normalize.deviation[i % 3] + t.normalize.mean[i % 3];
    a.image.pixels.push_back(static_cast<std::uint8_t>(std::clamp(std::lround(v), 0l, 255l)));
  }
  a.label.values.assign(labels.begin(), labels.end());
  const auto longest = std::max(t.crop_h, t.crop_w);
  if (longest <= cell) return a;
  const auto scaled = [&](std::int64_t n) { return std::max<std::int64_t>(1, n * cell / longest); };
  const std::int64_t h = scaled(t.crop_h), w = scaled(t.crop_w);
  return {"", resize_bilinear(a.image, h, w), resize_nearest(a.label, h, w)};
}

// Swatches and names in as many columns as fit.
Image legend(const Dataset& dataset, const std::set<int>& classes, std::int64_t width) {
  std::size_t longest = 0;
  for (const int k : classes)
    longest = std::max(longest, dataset.classes()[static_cast<std::size_t>(k)].size());
  constexpr std::int64_t kSwatch = 12, kLine = 18;
  const std::int64_t entry = kSwatch + 6 + static_cast<std::int64_t>(longest) * 8 + 2 * kGap;
  const auto columns = std::max<std::int64_t>(1, (width - kGap) / entry);
  const auto lines = (static_cast<std::int64_t>(classes.size()) + columns - 1) / columns;
  Image image = plain_image(std::max<std::int64_t>(lines, 1) * kLine + kGap, width, kPaper);
  std::int64_t at = 0;
  for (const int k : classes) {
    const std::int64_t x = kGap + at % columns * entry, y = at / columns * kLine;
    const auto i = static_cast<std::size_t>(k);
    fill(image, {y, x, kSwatch, kSwatch}, kInk);  // its edge shows where the colour is white
    fill(image, {y + 1, x + 1, kSwatch - 2, kSwatch - 2}, dataset.palette()[i]);
    draw_text(image, x + kSwatch + 6, y + 1, dataset.classes()[i], kInk);
    ++at;
  }
  return image;
}

}  // namespace

void draw_text(Image& image, std::int64_t x, std::int64_t y, std::string_view text,
               const Color& color) {
  constexpr std::int64_t kDot = 2;
  for (const char c : text) {
    const char* rows = rows_of(c);
    for (std::int64_t row = 0; row < 5; ++row)
      for (std::int64_t dot = 0; dot < 3; ++dot)
        if (((rows[row] - '0') >> (2 - dot) & 1) != 0)
          fill(image, {y + row * kDot, x + dot * kDot, kDot, kDot}, color);
    x += 4 * kDot;
  }
}

Image contact_sheet(const Dataset& dataset, const TrainTransform& transform,
                    const ContactSheet& sheet) {
  check(dataset.has_labels(), "contact sheet: this split has no labels");
  check(sheet.pictures >= 1 && sheet.columns >= 1 && sheet.cell >= 16,
        "contact sheet of {} pictures in {} columns of {}", sheet.pictures, sheet.columns,
        sheet.cell);
  transform.validate();
  const std::int64_t n = std::min(sheet.pictures, dataset.size());
  std::vector<Sample> cells;
  std::set<int> classes;
  std::string problem;
  for (std::int64_t j = 0; j < n; ++j) {
    const std::int64_t i = j * dataset.size() / n;
    try {
      const RandomKey key{sheet.seed, 0, kUseAugment, static_cast<std::uint32_t>(i)};
      cells.push_back(augmented(dataset.load(i), transform, key, sheet.cell));
    } catch (const InputError& e) {
      problem = e.what();
      continue;
    }
    for (const std::uint8_t k : cells.back().label.values)
      if (k < dataset.num_classes()) classes.insert(k);
  }
  if (cells.empty()) fail_input("{}", problem.empty() ? "no sample for a contact sheet" : problem);
  const std::int64_t h = cells[0].image.height, w = cells[0].image.width;
  const auto columns = std::min<std::int64_t>(sheet.columns, std::ssize(cells));
  const std::int64_t rows = (std::ssize(cells) + columns - 1) / columns;
  const std::int64_t pair = 2 * w + kGap / 2 + kGap;
  const std::int64_t width = std::max<std::int64_t>(kGap + columns * pair, 320);
  const Image names = legend(dataset, classes, width);
  Image out = plain_image(kGap + rows * (h + kGap) + names.height, width, kPaper);
  for (std::int64_t j = 0; j < std::ssize(cells); ++j) {
    const Sample& a = cells[static_cast<std::size_t>(j)];
    const std::int64_t x = kGap + j % columns * pair, y = kGap + j / columns * (h + kGap);
    lay(out, a.image, x, y);
    lay(out, overlay(a.image, a.label, dataset.palette()), x + w + kGap / 2, y);
  }
  lay(out, names, 0, kGap + rows * (h + kGap));
  return out;
}

}  // namespace nextgrad
