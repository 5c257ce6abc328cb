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
  of_cpu_level(&nextgrad_eigen_base, &nextgrad_eigen_v3, &nextgrad_eigen_v4)(p);
#else
  nextgrad_eigen_built(p);
#endif
}

}  // namespace nextgrad
