// Where a tensor lives: its device, and a block of memory there.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace nextgrad {

class Backend;
struct Derived;

struct Device {
  enum class Kind { cpu, cuda };
  Kind kind = Kind::cpu;
  int index = 0;

  bool operator==(const Device&) const = default;
  std::string str() const;                     // "cpu", "cuda:0"
  static Device parse(std::string_view text);  // "cpu", "cuda", "cuda:1"; throws InputError
};

struct MemoryStats {
  std::size_t live = 0;      // bytes in tensors now
  std::size_t peak = 0;      // most bytes ever live since the last reset_peak
  std::size_t reserved = 0;  // bytes taken from the system, live or cached
};

// Owns a block; tensors that view the same numbers share one Storage. `version` changes with every
// write, so that a backward pass notices that a tensor it saved is no longer what it was; no two
// storages ever have the same.
class Storage {
 public:
  Storage(Backend& backend, std::size_t bytes);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  Backend& backend() const { return backend_; }
  std::uint64_t version() const { return version_.load(std::memory_order_relaxed); }
  void bump_version() { version_.store(next_version(), std::memory_order_relaxed); }
  std::shared_ptr<Derived> derived;  // what derived() keeps (derived.h)

 private:
  static std::uint64_t next_version();

  Backend& backend_;
  std::size_t bytes_;
  void* data_;
  std::atomic<std::uint64_t> version_{next_version()};
};

}  // namespace nextgrad

template <>
struct fmt::formatter<nextgrad::Device> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(const nextgrad::Device& device, Context& context) const {
    return fmt::formatter<std::string_view>::format(device.str(), context);
  }
};
