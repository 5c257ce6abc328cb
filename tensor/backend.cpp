#include "tensor/backend.h"

#include <array>
#include <memory>
#include <mutex>

#include "tensor/communicator.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/kit/taps.h"

namespace nextgrad {

namespace {

constexpr int kMaxDevices = 16;

struct Registry {
  std::mutex mutex;
  std::array<Backend* (*)(int), 2> create{};  // by Device::Kind
  std::array<std::array<Backend*, kMaxDevices>, 2> made{};
};

Registry& registry() {
  static Registry* r = new Registry;  // never destroyed: tensors may outlive main()
  return *r;
}

class HostTransfer final : public Transfer {
 public:
  explicit HostTransfer(Tensor tensor) : tensor_(std::move(tensor)) {}
  void receive(Tensor& destination) override { destination.copy_(tensor_); }

 private:
  Tensor tensor_;
};

}  // namespace

void register_backend(Device::Kind kind, Backend* (*create)(int)) {
  registry().create[static_cast<std::size_t>(kind)] = create;
}

std::unique_ptr<Transfer> Backend::send(const Tensor& host) {
  return std::make_unique<HostTransfer>(host.clone());
}

std::unique_ptr<Communicator> Backend::connect(Communicator& hosts) {
  return std::make_unique<ThroughHost>(hosts);
}

Backend& backend_of(Device device) {
  if (device.kind == Device::Kind::cpu) {
    const auto made = registry().create[0];
    static Backend* cpu = made != nullptr ? made(0) : cpu::make_backend();
    return *cpu;
  }
  Registry& r = registry();
  const std::scoped_lock lock(r.mutex);
  const auto kind = static_cast<std::size_t>(device.kind);
  if (r.create[kind] == nullptr)
    fail_input("device {}: this build has no backend for it; use cpu", device);
  if (device.index < 0 || device.index >= kMaxDevices)
    fail_input("device {}: no such index", device);
  Backend*& backend = r.made[kind][static_cast<std::size_t>(device.index)];
  if (backend == nullptr) backend = r.create[kind](device.index);
  return *backend;
}

std::pair<std::int64_t, std::int64_t> rows_read(const RowBand& band) {
  const std::vector<cpu::Tap> rows = cpu::band_taps(band);
  return {rows.front().first, rows.back().second + 1};
}

}  // namespace nextgrad
