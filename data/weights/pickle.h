// Python's pickles as inert data: a pickle is a program that builds objects by calling functions,
// and here nothing is ever called. Containers, texts and numbers are built; every call, object and
// global name is kept as a node that says what would have been called.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nextgrad {

class Pickle {
 public:
  using Id = std::uint32_t;  // of a node; nodes may be shared and may contain themselves
  enum class Kind : std::uint8_t {
    none,
    boolean,     // integer
    integer,     // integer
    big,         // text: a whole number beyond 64 bits, two's complement, little-endian
    real,        // real
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
  struct Node {
    Kind kind = Kind::none;
    std::int64_t integer = 0;
    double real = 0;
    std::string text = {};
    std::vector<Id> items = {};
  };

  const Node& operator[](Id id) const { return nodes_[id]; }
  std::size_t size() const { return nodes_.size(); }
  Id root() const { return root_; }
  std::size_t bytes() const { return bytes_; }  // that it took of the file

  // The value of a text key of a dictionary (the last one if it comes again); nullptr if absent.
  const Node* find(const Node& dict, std::string_view key) const;

 private:
  friend class Unpickler;
  std::deque<Node> nodes_;  // grows without moving what is there
  Id root_ = 0;
  std::size_t bytes_ = 0;
};

// Reads one pickle of protocols 0 to 5 at the beginning of `bytes`, which may go on after it. An
// OrderedDict is a dict; the attributes and further items of objects are dropped. Throws InputError
// that begins with `path` for a damaged pickle. Time is linear in the bytes, memory below 100 times
// as many, no recursion whatever the nesting.
Pickle parse_pickle(const std::string& path, std::span<const std::uint8_t> bytes);

}  // namespace nextgrad
