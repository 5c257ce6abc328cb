// A module's tensors by name, in PyTorch's shapes: what a checkpoint file holds.
#pragma once

#include <string>
#include <vector>

#include "nn/module.h"

namespace nextgrad {

struct NamedTensor {
  std::string name;
  Tensor value;
};
using StateDict = std::vector<NamedTensor>;

// Parameters, then buffers, in PyTorch's names, order and layout (copies, on the host). Includes
// the i64 scalar num_batches_tracked of batch norms.
StateDict state_dict(const Module& module);

// The tensor of that name. Throws InputError, with `what` state it is, unless it is there and has
// this shape.
const Tensor& find_tensor(const StateDict& state, const char* what, const std::string& name,
                          const Shape& shape);

struct LoadReport {
  std::vector<std::string> matched;     // copied
  std::vector<std::string> missing;     // the module wants it, the dictionary lacks it
  std::vector<std::string> unexpected;  // the other way round
  std::vector<std::string> misshaped;   // "name: file [1,2], model [1,3]"; not copied
  // Nothing but num_batches_tracked (absent from old files) is missing, unexpected or misshaped.
  bool complete() const;
  // The module has all it wants; the dictionary may hold more.
  bool covers() const;
  // "345 of 347 tensors matched; missing: a, b; unexpected: c" (at most three names each).
  std::string summary() const;
  // The same as four lines, one for each group: "matched: 345 of 347 tensors", "missing: none",
  // "unexpected: 2: a, b", "mis-shaped: none"; long lists are cut. Counters that are missing are
  // said not to matter.
  std::string lines() const;
};

// Copies every tensor whose name and shape agree, converting to the module's dtype and device. If
// `strict`, throws InputError and copies nothing unless everything agrees.
LoadReport load_state_dict(Module& module, const StateDict& tensors, bool strict = true);

}  // namespace nextgrad
