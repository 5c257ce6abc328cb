#include "apps/commands/eigen_product.h"

#include "tensor/backend.h"

using Multiply = void(const nextgrad::EigenProduct& p);
extern "C" {
#ifdef NEXTGRAD_LEVELS
Multiply nextgrad_eigen_base, nextgrad_eigen_v3, nextgrad_eigen_v4;
#else
Multiply nextgrad_eigen_built;
#endif
}

namespace nextgrad {

void multiply_by_eigen(const EigenProduct& p) {
#ifdef NEXTGRAD_LEVELS
  const std::string_view level = cpu_level();
  return level == "v4"   ? nextgrad_eigen_v4(p)
         : level == "v3" ? nextgrad_eigen_v3(p)
                         : nextgrad_eigen_base(p);
#else
  return nextgrad_eigen_built(p);
#endif
}

}  // namespace nextgrad
