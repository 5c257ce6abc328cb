// toml++, made to throw where a file from outside trips one of its parser's assertions ("[=]").
// Included instead of toml++ everywhere: its inline functions must be the same in all files.
#pragma once

#include "tensor/error.h"

namespace nextgrad {

[[noreturn]] inline void refuse_toml() {
  fail_input("not valid TOML: a key or table begins with what cannot stand in a name");
}

}  // namespace nextgrad

#define TOML_ASSERT(expression) ((expression) ? void() : ::nextgrad::refuse_toml())
#include <toml++/toml.h>
