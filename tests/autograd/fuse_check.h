// What the tests of fusion share: a value in one op and one by one, and which ops ran.
#pragma once

#include "autograd/conv.h"
#include "autograd/fuse.h"
#include "autograd/recompute.h"
#include "tensor/profile.h"
#include "tests/autograd/check.h"

namespace nextgrad::test {

using In = const std::vector<Variable>&;
using Calls = std::map<std::string, int>;

// The ops that computing fn's value takes, without those on parameters.
inline Calls ops_of(const std::function<Variable()>& fn) {
  const Profile profile;
  fn().value();
  Calls calls;
  for (const auto& [name, cost] : profile.ops())
    if (name != "copy" && name != "fill") calls[name] = static_cast<int>(cost.calls);
  return calls;
}

inline Fn one_by_one(const Fn& fn) {
  return [fn](In in) {
    const NoFusion off;
    return fn(in);
  };
}
inline Fn second_run(const Fn& fn) {
  return [fn](In in) { return recomputed(fn, in); };
}

struct Case {
  std::string what;
  Fn fn;
  std::vector<Variable> inputs;
  const char* fused;                 // the op of the rule
  std::vector<const char*> instead;  // and those of which none must run
};

inline Variable depthwise(const Variable& x, const Variable& w, const Variable& b = {}) {
  const int kh = static_cast<int>(w.dim(0)), kw = static_cast<int>(w.dim(1));
  return depthwise_conv2d(x, w, b, {.pad_h = kh / 2, .pad_w = kw / 2});
}

inline const Shape kImage{2, 5, 6, 4};

}  // namespace nextgrad::test
