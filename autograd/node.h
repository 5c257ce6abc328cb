// What a Variable's handle points to: for variable.cpp, which records and walks the graph, and
// fuse.cpp, which decides how values are computed.
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

// A place in the graph. Inner nodes keep the nodes (not the values) of their inputs, so that a
// value lives only as long as somebody uses it or a backward saved it.
struct Node {
  const char* name = "leaf";
  std::uint64_t order = 0;  // of creation: inputs always have smaller ones
  // Of a leaf: the order of the earliest use that no backward has come to yet (0: of none); once a
  // backward has passed it, the gradient is complete.
  std::uint64_t first_use = 0;
  std::function<void()> complete;  // of a leaf: called then
  std::vector<std::shared_ptr<Node>> inputs;
  Backward backward;  // empty for a leaf and once freed
  Tensor grad;        // of a leaf, or of a node that retains it
  Tensor pending;     // what has arrived during this backward
  bool leaf = true, retain = false, freed = false;

  Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  ~Node();
};

// The op of this order reads it.
void note_use(Node& node, std::uint64_t order);
std::uint64_t next_order();

struct Recipe;  // fuse.h

struct Variable::Impl {
  Tensor value;
  std::shared_ptr<Node> node;      // null: needs no gradient, or is not cooked yet
  std::shared_ptr<Remade> remade;  // of an inner node's value, or null
  std::shared_ptr<Recipe> recipe;  // of a value that nobody has asked for yet
  std::uint64_t version = 0;       // of the value when it was cooked
};

}  // namespace nextgrad
