// Attention.
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

// y = softmax(scale q k^T) v in each of `heads` heads, whose channels lie side by side: q
// [B,M,heads*D], k [B,N,heads*D], v [B,N,heads*E] -> [B,M,heads*E] (Vaswani et al. 2017). The
// weights [M,N] are never stored, nor kept for the backward. A scale of 0 stands for 1 / sqrt(D).
// Without keys, y is 0.
Variable attention(const Variable& q, const Variable& k, const Variable& v, int heads,
                   double scale = 0);

}  // namespace nextgrad
