// Where a command computes, and in which numbers.
#pragma once

#include <string>

#include "models/mscan.h"

namespace nextgrad {

struct Placement {
  std::string device = "cpu", precision = "f32";
};
inline constexpr const char* kDeviceHelp = "where to compute: cpu, cuda or cuda:N";
inline constexpr const char* kPrecisionHelp =
    "f32; on a GPU also tf32 (products on tensor cores, inputs rounded to 10 bits) or bf16 (half "
    "the memory, too: activations and products in bfloat16; weights, statistics and losses in "
    "f32). f32 by default: it gives what the CPU gives, to rounding";

// Makes the encoder, and what follows it, compute so. Throws InputError for a device and precision
// that do not go together.
void set_precision(MSCAN& encoder, Device device, const std::string& precision);

}  // namespace nextgrad
