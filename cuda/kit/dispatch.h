// From tensors to the template arguments of a kernel: activations are f32, f64 or bf16, and come in
// packs of 16 bytes or one by one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "cuda/kit/kernel.h"
#include "tensor/tensor.h"

namespace nextgrad::cuda {

// Calls fn<T>() with the C++ type of activations: f32, f64 or bf16; throws for the others.
template <class Fn>
decltype(auto) dispatch_activation(DType dtype, const char* op, Fn&& fn) {
  if (dtype == DType::f32) return fn.template operator()<float>();
  if (dtype == DType::f64) return fn.template operator()<double>();
  if (dtype == DType::bf16) return fn.template operator()<bfloat16>();
  fail("{}: computes in f32, f64 or bf16, got {}; convert with to()", op, name_of(dtype));
}

using TensorList = std::initializer_list<std::reference_wrapper<const Tensor>>;

// Whether each tensor's numbers begin at a multiple of so many bytes; undefined ones do.
inline bool aligned(TensorList tensors, std::size_t bytes = 16) {
  return std::all_of(tensors.begin(), tensors.end(), [&](const Tensor& t) {
    return !t.defined() || reinterpret_cast<std::uintptr_t>(t.raw()) % bytes == 0;
  });
}

// Calls fn<T, N>() for activations of the first tensor's dtype: N of them make a pack of 16 bytes,
// or N is 1 where such packs do not fit into `n` numbers or these addresses.
template <class Fn>
void dispatch_packs(const char* op, std::int64_t n, TensorList activations, Fn&& fn) {
  dispatch_activation(activations.begin()->get().dtype(), op, [&]<class T>() {
    if (n % kPack<T> == 0 && aligned(activations))
      fn.template operator()<T, kPack<T>>();
    else
      fn.template operator()<T, 1>();
  });
}

}  // namespace nextgrad::cuda
