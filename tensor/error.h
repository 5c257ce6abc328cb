// Errors: one line that says what was wrong, where, and what to do.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace nextgrad {

// Wrong use of the library or a failure at run time; the binary exits with 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Bad input from outside (a file, an option, a configuration); the binary exits with 2.
class InputError : public Error {
 public:
  using Error::Error;
};

// Memory of the host or the device does not suffice: who knows what for says what helps.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
[[noreturn]] void fail_input(fmt::format_string<Args...> format, Args&&... args) {
  throw InputError(fmt::format(format, std::forward<Args>(args)...));
}

// Throws Error with the formatted message unless `ok`.
template <class... Args>
void check(bool ok, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) fail(format, std::forward<Args>(args)...);
}

// A name from outside as it may stand in a line on a terminal: UTF-8 stays, what would steer the
// terminal or break the line (control characters, U+2028, turned writing directions) and bytes that
// are no UTF-8 become \n, \x1b, \u202e.
std::string printable(std::string_view text);

// Length in bytes of the UTF-8 character at the front of `text` (1 to 4), which goes to `code`; 0
// if there is none: cut, overlong, a surrogate, beyond U+10FFFF.
std::size_t decode_utf8(std::string_view text, std::uint32_t& code);

}  // namespace nextgrad
