// Python's pickles as inert data: a pickle is a program that builds objects by calling functions,
// and here nothing is ever called. Containers, texts and numbers are built; every call, object and
// global name is kept as a node that says what would have been called.
#pragma once

#include <bit>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nextgrad {

struct Pickle {
  enum class Kind : std::uint8_t {
    none,
    boolean,     // integer
    integer,     // integer
    big,         // text: a whole number beyond 64 bits, two's complement, little-endian
    real,        // real()
    text,        // text
    bytes,       // text
    tuple,       // items
    list,        // items
    set,         // items
    dict,        // items: key, value, key, value, ...
    global,      // text: "module.name"
    persistent,  // items: what the writer said of something outside the pickle
    call,        // items: what was called, its arguments
    object       // items: the class (what else made it is dropped)
  };
  struct Node;
  using Nodes = std::vector<const Node*>;  // may be shared and may contain themselves
  struct Node {
    Kind kind = Kind::none;
    Nodes items = {};
    std::string text = {};
    std::int64_t integer = 0;  // of a real: its bits

    double real() const { return std::bit_cast<double>(integer); }
    bool is_sequence() const { return kind == Kind::tuple || kind == Kind::list; }
    // Keys and values of a dictionary.
    std::vector<std::pair<const Node*, const Node*>> pairs() const;
    // The value of a text key (the last one if it comes again); nullptr if absent.
    const Node* find(std::string_view key) const;
  };

  std::deque<Node> nodes;  // grows without moving what is there
  const Node* root = nullptr;
  std::size_t bytes = 0;  // that it took of the file

  const Node& top() const { return *root; }
};

// Reads one pickle of protocols 0 to 5 at the beginning of `bytes`, which may go on after it. An
// OrderedDict is a dict; the attributes and further items of objects are dropped. Throws InputError
// for a damaged pickle. Time is linear in the bytes, memory below 100 times as many, no recursion
// whatever the nesting.
Pickle parse_pickle(std::span<const std::uint8_t> bytes);

}  // namespace nextgrad
