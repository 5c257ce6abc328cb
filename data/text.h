// Text of a file in a message.
#pragma once

#include <string>

namespace nextgrad {

// A name as it can stand in a one-line message: in quotes, plain ASCII, at most 80 bytes of it.
std::string in_quotes(const std::string& name);

// Whether a tensor may be called so: printable ASCII without spaces, not empty.
bool is_plain_name(const std::string& name);

}  // namespace nextgrad
