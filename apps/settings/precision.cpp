#include "apps/settings/precision.h"

namespace nextgrad {

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
