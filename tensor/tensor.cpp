#include "tensor/tensor.h"

#include "tensor/extents.h"

namespace nextgrad {

Storage::Storage(Backend& backend, std::size_t bytes)
    : backend_(backend), bytes_(bytes), data_(bytes > 0 ? backend.allocate(bytes) : nullptr) {}

Storage::~Storage() {
  if (data_ != nullptr) backend_.release(data_, bytes_);
}

std::uint64_t Storage::next_version() {
  static std::atomic<std::uint64_t> versions{0};
  return versions.fetch_add(1, std::memory_order_relaxed) + 1;
}

namespace {

thread_local std::vector<std::weak_ptr<Storage>>* writes = nullptr;

}  // namespace

void Tensor::bump_version() {
  storage_->bump_version();
  if (writes != nullptr) writes->push_back(storage_);
}

void Writes::open() {
  writes = &storages_;
}
void Writes::close() {
  writes = nullptr;
  std::erase_if(storages_, [](const auto& s) { return s.expired(); });
}
void Writes::again() const {
  for (const std::weak_ptr<Storage>& s : storages_)
    if (const std::shared_ptr<Storage> storage = s.lock()) storage->bump_version();
}

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  Tensor t;
  t.shape_ = shape;
  t.numel_ = shape.numel();
  t.strides_ = contiguous_strides(shape);
  t.dtype_ = dtype;
  std::int64_t bytes = 0;  // signed: allocators round up, which must not overflow either
  check(!__builtin_mul_overflow(t.numel_, static_cast<std::int64_t>(size_of(dtype)), &bytes),
        "shape {} is too large", shape);
  t.storage_ = std::make_shared<Storage>(backend_of(device), static_cast<std::size_t>(bytes));
  return t;
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  t.backend().fill(t, value);
  return t;
}

template <class T>
Tensor Tensor::from(std::span<const T> values, const Shape& shape, Device device) {
  Tensor t = empty(shape, dtype_of<T>, device);
  check(static_cast<std::int64_t>(values.size()) == t.numel_, "{} values do not fill shape {}",
        values.size(), shape);
  if (t.numel_ > 0) t.backend().upload(t.raw(), values.data(), t.nbytes());
  return t;
}

Device Tensor::device() const {
  return backend().device();
}

Backend& Tensor::backend() const {
  check(defined(), "an undefined tensor was used");
  return storage_->backend();
}

bool Tensor::is_contiguous() const {
  if (numel_ == 0) return true;
  std::int64_t expected = 1;
  for (int a = ndim() - 1; a >= 0; --a) {
    if (shape_[a] != 1 && strides_[a] != expected) return false;
    expected *= shape_[a];
  }
  return true;
}

bool Tensor::sole_owner() const {
  return defined() && storage_.use_count() == 1 && nbytes() == storage_->bytes() && is_contiguous();
}

Tensor Tensor::with(const Shape& shape, const Shape& strides, std::int64_t offset) const {
  check(defined(), "an undefined tensor was used");
  Tensor t = *this;
  t.shape_ = shape;
  t.strides_ = strides;
  t.offset_ = offset;
  t.numel_ = shape.numel();
  return t;
}

Tensor Tensor::reshape(const Shape& wanted) const {
  Shape shape = wanted;
  int unknown = -1;
  std::int64_t known = 1;
  for (int a = 0; a < shape.size(); ++a) {
    if (shape[a] == -1) {
      check(unknown < 0, "reshape to {}: only one extent may be -1", wanted);
      unknown = a;
    } else {
      check(!__builtin_mul_overflow(known, shape[a], &known), "reshape to {}: too large", wanted);
    }
  }
  if (unknown >= 0) shape[unknown] = known == 0 ? 0 : numel_ / known;
  check(shape.numel() == numel_, "cannot reshape {} to {}", shape_, wanted);
  const Tensor source = contiguous();
  return source.with(shape, contiguous_strides(shape), source.offset_);
}

Tensor Tensor::slice(int axis, std::int64_t begin, std::int64_t end, std::int64_t step) const {
  const int a = shape_.axis(axis);
  check(0 <= begin && begin <= end && end <= shape_[a] && step > 0,
        "slice {}:{}:{} is out of range for axis {} of {}", begin, end, step, a, shape_);
  Shape shape = shape_, strides = strides_;
  shape[a] = (end - begin) / step + ((end - begin) % step != 0 ? 1 : 0);
  if (shape[a] > 1) strides[a] *= step;  // else of no meaning, and perhaps too large
  return with(shape, strides, offset_ + begin * strides_[a]);
}

Tensor Tensor::permute(const std::vector<int>& axes) const {
  check(static_cast<int>(axes.size()) == ndim(), "permute of {} needs {} axes, got {}", shape_,
        ndim(), axes.size());
  Shape shape, strides;
  unsigned seen = 0;
  for (const int wanted : axes) {
    const int a = shape_.axis(wanted);
    check((seen & (1u << a)) == 0, "permute of {}: axis {} twice", shape_, a);
    seen |= 1u << a;
    shape.push_back(shape_[a]);
    strides.push_back(strides_[a]);
  }
  return with(shape, strides, offset_);
}

Tensor Tensor::transpose(int a, int b) const {
  Shape shape = shape_, strides = strides_;
  const int x = shape_.axis(a), y = shape_.axis(b);
  std::swap(shape[x], shape[y]);
  std::swap(strides[x], strides[y]);
  return with(shape, strides, offset_);
}

Tensor Tensor::expand(const Shape& shape) const {
  check(shape.size() >= ndim() && broadcast(shape_, shape) == shape, "cannot expand {} to {}",
        shape_, shape);
  Shape strides = shape;
  const int added = shape.size() - ndim();
  for (int a = 0; a < shape.size(); ++a)
    strides[a] = a < added || shape_[a - added] == 1 ? 0 : strides_[a - added];
  return with(shape, strides, offset_);
}

Tensor Tensor::squeeze(int axis) const {
  const int gone = shape_.axis(axis);
  check(shape_[gone] == 1, "squeeze: axis {} of {} is not 1", gone, shape_);
  return with(without_axis(shape_, gone), without_axis(strides_, gone), offset_);
}

Tensor Tensor::unsqueeze(int axis) const {
  const int at = axis < 0 ? axis + ndim() + 1 : axis;
  check(at >= 0 && at <= ndim(), "unsqueeze: axis {} is out of range for {}", axis, shape_);
  Shape shape, strides;
  for (int a = 0; a <= ndim(); ++a) {
    const bool old = a != at;
    shape.push_back(old ? shape_[a < at ? a : a - 1] : 1);
    strides.push_back(old ? strides_[a < at ? a : a - 1] : 1);
  }
  return with(shape, strides, offset_);
}

Tensor Tensor::clone() const {
  Tensor t = empty(shape_, dtype_, device());
  backend().copy(*this, t);
  return t;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  Tensor t = empty(shape_, dtype, device());
  backend().copy(*this, t);
  return t;
}

Tensor Tensor::to(Device target) const {
  if (target == device()) return *this;
  const Tensor source = contiguous();
  std::vector<std::byte> host(nbytes());
  backend().download(host.data(), source.raw(), host.size());
  Tensor t = empty(shape_, dtype_, target);
  t.backend().upload(t.raw(), host.data(), host.size());
  return t;
}

void Tensor::fill_(double value) {
  backend().fill(*this, value);
}

void Tensor::copy_(const Tensor& source) {
  if (source.device() != device()) return copy_(source.to(device()));
  const Tensor expanded = source.expand(shape_);
  backend().copy(expanded, *this);
}

void Tensor::add_(const Tensor& source, double alpha) {
  check(source.shape_ == shape_ && source.dtype_ == dtype_ && source.device() == device(),
        "add_: {} {} on {} does not add to {} {} on {}", name_of(source.dtype_), source.shape_,
        source.device(), name_of(dtype_), shape_, device());
  if (is_contiguous()) return backend().axpy(*this, source.contiguous(), alpha);
  Tensor sum = clone();
  backend().axpy(sum, source.contiguous(), alpha);
  copy_(sum);
}

template <class T>
std::vector<T> Tensor::to_vector() const {
  const Tensor source = to(dtype_of<T>).contiguous();
  std::vector<T> values(numel_);
  if (numel_ > 0) backend().download(values.data(), source.raw(), source.nbytes());
  return values;
}

double Tensor::item() const {
  check(numel_ == 1, "item() wants one element, shape is {}", shape_);
  return to_vector<double>()[0];
}

#define NEXTGRAD_INSTANTIATE(T)                                              \
  template Tensor Tensor::from<T>(std::span<const T>, const Shape&, Device); \
  template std::vector<T> Tensor::to_vector<T>() const;
NEXTGRAD_INSTANTIATE(float)
NEXTGRAD_INSTANTIATE(double)
NEXTGRAD_INSTANTIATE(bfloat16)
NEXTGRAD_INSTANTIATE(std::int64_t)
NEXTGRAD_INSTANTIATE(std::int32_t)
NEXTGRAD_INSTANTIATE(std::uint8_t)
#undef NEXTGRAD_INSTANTIATE

}  // namespace nextgrad
