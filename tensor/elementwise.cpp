#include "tensor/elementwise.h"

#include <string>

namespace nextgrad {

UnaryFacts facts_of(Unary op) {
  UnaryFacts facts{};
  with_unary(op, [&](auto which) {
    using Op = UnaryOp<which(), void, float>;
    static const std::string backward = std::string(Op::name) + "_backward";
    facts = {Op::name, backward.c_str(), Op::gradient_reads};
  });
  return facts;
}

const char* name_of(Binary op) {
  const char* name = nullptr;
  with_binary(op, [&](auto which) { name = BinaryOp<which(), float>::name; });
  return name;
}

}  // namespace nextgrad
