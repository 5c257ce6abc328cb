// Kernels of depth-wise 3x3 and 5x5 convolutions, used by depthwise.cpp and feed_forward.cpp.
#pragma once

#include <cstdint>

#include "tensor/extents.h"

namespace nextgrad::cpu {

// The fast path of 3x3 and 5x5 (depthwise_square.cpp): stride 1, the size kept, channels in whole
// cache lines.
template <class T>
bool depthwise_square_fits(const DepthwiseShape& s);
template <class T>
void depthwise_square_forward(const DepthwiseShape& s, const T* x, const T* weight, const T* bias,
                              const T* base, T* y);
// dx, dweight and dbias in one pass; each may be null.
template <class T>
void depthwise_square_backward(const DepthwiseShape& s, const T* x, const T* weight, const T* dy,
                               T* dx, T* dweight, T* dbias);
// For kernels that hold a part of an image in cache: weights [taps][C] and bias as
// depthwise_3x3_part() reads them, (taps + 1) C numbers in blocks of L = kLanes channels,
// [C / L][taps + 1][L], the taps turned round if `flip`; and outputs [y0, y1) x [x0, x1) of one
// image, stored where the image has them.
template <class T>
void depthwise_square_pack(const T* weight, const T* bias, std::int64_t taps, std::int64_t c,
                           bool flip, T* packed);
// Its backward: dx of those pixels, and what they add to `sums`, the gradients of the taps and the
// bias, packed in the same way; packed taps are flipped. depthwise_square_unpack_sums() adds up
// those of several pieces, in order.
template <class T>
void depthwise_3x3_part_backward(const DepthwiseShape& s, std::int64_t y0, std::int64_t y1,
                                 std::int64_t x0, std::int64_t x1, const T* dy, const T* packed,
                                 const T* x, T* dx, T* sums);
template <class T>
void depthwise_square_unpack_sums(const T* sums, std::int64_t pieces, std::int64_t taps,
                                  std::int64_t c, T* dweight, T* dbias);
template <class T>
void depthwise_3x3_part(const DepthwiseShape& s, std::int64_t y0, std::int64_t y1, std::int64_t x0,
                        std::int64_t x1, const T* x, const T* packed, T* y);

}  // namespace nextgrad::cpu
