// Where a command computes, and in which numbers.
#pragma once

#include <string>

#include "models/mscan.h"

namespace nextgrad {

struct Placement {
  std::string device = "cpu", precision = "f32";
  int threads = 0;  // 0: all cores
};
inline constexpr const char* kDeviceHelp = "where to compute: cpu, cuda or cuda:N";
inline constexpr const char* kPrecisionHelp =
    "f32; on a GPU also tf32 (products on tensor cores, inputs rounded to 10 bits) or bf16 (half "
    "the memory, too: activations and products in bfloat16; weights, statistics and losses in "
    "f32). f32 by default: it gives what the CPU gives, to rounding";

// Makes the encoder, and what follows it, compute so. Throws InputError for a device and precision
// that do not go together.
inline void set_precision(MSCAN& encoder, Device device, const std::string& precision) {
  if (precision != "f32" && device.kind == Device::Kind::cpu)
    fail_input(
        "--precision {} is for a GPU; the CPU computes in f32: leave it out, or add --device "
        "cuda",
        precision);
  backend_of(device).allow_tf32(precision == "tf32");
  if (precision == "bf16") encoder.set_activations(DType::bf16);
}

}  // namespace nextgrad
