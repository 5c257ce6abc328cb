// How far results are from what they should be: the one measure that the tests share. What cannot
// be compared is infinitely wrong: a NaN, another shape, nothing at all.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace nextgrad::test {

// The worst of the errors seen, and whose it was.
class Worst {
 public:
  void see(double error, const std::string& entry = "") {
    if (!(error >= 0)) error = HUGE_VAL;  // a NaN; and it stays, whatever follows
    if (seen_ && error <= error_) return;
    seen_ = true;
    error_ = error;
    entry_ = entry;
  }
  double error() const { return seen_ ? error_ : HUGE_VAL; }
  const std::string& entry() const { return entry_; }

 private:
  bool seen_ = false;
  double error_ = 0;
  std::string entry_;
};

enum class Nan {
  wrong,
  as_wanted
};  // as_wanted: right where a NaN is wanted, as special values do

// Largest |got - want| / (size + |want|), `size` being the largest |want| if that is below 1 (small
// numbers are not measured by 1) and else 1. Infinities must be equal.
inline double difference(std::span<const double> got, std::span<const double> want,
                         Nan nan = Nan::wrong) {
  if (got.size() != want.size()) return HUGE_VAL;
  double size = 0;
  for (const double w : want) size = std::max(size, std::isfinite(w) ? std::abs(w) : 0);
  size = size > 0 ? std::min(size, 1.0) : 1;
  Worst worst;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const bool special = nan == Nan::as_wanted && std::isnan(want[i]) && std::isnan(got[i]);
    const bool same = special || got[i] == want[i];
    worst.see(same ? 0 : std::abs(got[i] - want[i]) / (size + std::abs(want[i])));
  }
  return worst.error();
}

// The same of two tensors, whose shapes must agree as well.
inline double difference(const Tensor& got, const Tensor& want) {
  if (!got.defined() || !want.defined() || !(got.shape() == want.shape())) return HUGE_VAL;
  return difference(got.to_vector<double>(), want.to_vector<double>());
}

}  // namespace nextgrad::test
