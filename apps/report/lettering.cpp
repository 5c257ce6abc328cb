// Capitals, digits and a few signs of 3 x 5 dots, drawn twice as large.
#include <array>
#include <cctype>

#include "apps/report/contact_sheet.h"

namespace nextgrad {
namespace {

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

}  // namespace nextgrad
