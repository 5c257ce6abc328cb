// Elementwise arithmetic with broadcasting (NumPy's rule) and the activations, f32 or f64.
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

Variable operator+(const Variable& a, const Variable& b);
Variable operator-(const Variable& a, const Variable& b);
Variable operator*(const Variable& a, const Variable& b);
Variable operator/(const Variable& a, const Variable& b);
Variable operator+(const Variable& a, double b);
Variable operator-(const Variable& a, double b);
Variable operator*(const Variable& a, double b);
Variable operator/(const Variable& a, double b);
Variable operator-(const Variable& a);

Variable exp(const Variable& x);
Variable log(const Variable& x);
Variable sqrt(const Variable& x);
Variable rsqrt(const Variable& x);
Variable square(const Variable& x);
Variable clamp_min(const Variable& x, double lowest);

// Activations; their formulas and slopes stand in tensor/elementwise.h.
Variable relu(const Variable& x);
Variable gelu(const Variable& x);  // x Phi(x), exact (Hendrycks and Gimpel 2016)
Variable sigmoid(const Variable& x);
Variable silu(const Variable& x);       // x sigmoid(x)
Variable hardswish(const Variable& x);  // x clamp(x + 3, 0, 6) / 6 (Howard et al. 2019)
Variable tanh(const Variable& x);

}  // namespace nextgrad
