// Tensor: a cheap value handle (shape, strides, offset) on shared storage. Numbers only; gradients
// belong to autograd/. Images are [N, H, W, C].
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/shape.h"
#include "tensor/storage.h"

namespace nextgrad {

class Tensor {
 public:
  Tensor() = default;  // undefined: defined() is false

  // New tensors. `empty` is uninitialised; `full` takes the value as to(DType) would.
  static Tensor empty(const Shape& shape, DType dtype = DType::f32, Device device = {});
  static Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = {}) {
    return full(shape, 0.0, dtype, device);
  }
  static Tensor full(const Shape& shape, double value, DType dtype = DType::f32,
                     Device device = {});
  // Copies host values, row-major; throws unless values.size() == shape.numel().
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape, Device device = {});
  template <class T>
  static Tensor from(const std::vector<T>& values, const Shape& shape, Device device = {}) {
    return from(std::span<const T>(values), shape, device);
  }
  static Tensor scalar(double value, DType dtype = DType::f32, Device device = {}) {
    return full({}, value, dtype, device);
  }

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }  // in elements
  std::int64_t dim(int axis) const { return shape_[shape_.axis(axis)]; }
  int ndim() const { return shape_.size(); }
  std::int64_t numel() const { return numel_; }
  DType dtype() const { return dtype_; }
  Device device() const;
  Backend& backend() const;  // throws if undefined
  bool is_contiguous() const;
  std::size_t nbytes() const { return static_cast<std::size_t>(numel_) * size_of(dtype_); }
  // True if no other tensor shares the storage and this one covers all of it, so that its owner may
  // change it unseen.
  bool sole_owner() const;
  bool shares_storage(const Tensor& other) const { return storage_ == other.storage_; }
  std::uint64_t version() const { return storage_ ? storage_->version() : 0; }

  // Views share the storage, and so its version: no numbers move. Axes may be negative, from the
  // end; all throw for an axis or extent that is not there.
  Tensor reshape(const Shape& shape) const;  // one extent may be -1; copies unless contiguous
  // Elements begin, begin + step, ... below end: 0 <= begin <= end <= dim(axis), step > 0.
  Tensor slice(int axis, std::int64_t begin, std::int64_t end, std::int64_t step = 1) const;
  Tensor permute(const std::vector<int>& axes) const;
  Tensor transpose(int a, int b) const;
  Tensor expand(const Shape& shape) const;  // broadcast, stride 0
  Tensor squeeze(int axis) const;
  Tensor unsqueeze(int axis) const;

  Tensor contiguous() const { return is_contiguous() ? *this : clone(); }
  Tensor clone() const;  // always a contiguous copy
  // Itself, storage and all, if it is of this dtype. Rounds to nearest even; what is floating goes
  // to integers towards zero, to their nearest limit beyond their range, and to 0 if it is NaN;
  // integers go to narrower ones modulo 2^bits.
  Tensor to(DType dtype) const;
  Tensor to(Device device) const;

  // In place; the storage's version grows.
  void fill_(double value);
  void copy_(const Tensor& source);                     // broadcasts and casts; must not overlap
  void add_(const Tensor& source, double alpha = 1.0);  // this += alpha * source, same shape

  // To the host.
  template <class T>
  std::vector<T> to_vector() const;  // row-major, cast to T
  double item() const;               // throws unless numel() == 1

  // For backends only (tensor/cpu, cuda): address of the first element. Nothing above may use it.
  template <class T>
  T* data() const {
    check(dtype_of<T> == dtype_, "tensor holds {}, read as {}", name_of(dtype_),
          name_of(dtype_of<T>));
    return static_cast<T*>(storage_->data()) + offset_;
  }
  void* raw() const {
    return static_cast<std::byte*>(storage_->data()) +
           static_cast<std::size_t>(offset_) * size_of(dtype_);
  }
  void bump_version();                                                     // a kernel wrote into it
  // For who keeps something for as long as the numbers live, which it does not keep alive.
  std::weak_ptr<Storage> storage() const { return storage_; }
  std::shared_ptr<Derived>& derived() const { return storage_->derived; }  // for derived.h

 private:
  Tensor with(const Shape& shape, const Shape& strides, std::int64_t offset) const;

  std::shared_ptr<Storage> storage_;
  Shape shape_;
  Shape strides_;
  std::int64_t offset_ = 0;
  std::int64_t numel_ = 0;
  DType dtype_ = DType::f32;
};

// What this thread writes to in place while one is open: the replay of a Capture (backend.h) writes
// to it again, unseen, and says so by again().
class Writes {
 public:
  void open();
  void close();
  void again() const;  // whatever is still there of it gets new versions

 private:
  std::vector<std::weak_ptr<Storage>> storages_;
};

}  // namespace nextgrad
