#include "apps/precision.h"

namespace nextgrad {

void add_placement(CLI::App& app, Placement& p) {
  app.add_option("--device", p.device, kDeviceHelp)->capture_default_str();
  app.add_option("--precision", p.precision, kPrecisionHelp)
      ->check(CLI::IsMember({"f32", "tf32", "bf16"}))
      ->capture_default_str();
}

void set_precision(MSCAN& encoder, Device device, const std::string& precision) {
  if (precision != "f32" && device.kind == Device::Kind::cpu)
    fail_input(
        "--precision {} is for a GPU; the CPU computes in f32: leave it out, or add --device "
        "cuda",
        precision);
  backend_of(device).allow_tf32(precision == "tf32");
  if (precision == "bf16") encoder.set_activations(DType::bf16);
}

}  // namespace nextgrad
