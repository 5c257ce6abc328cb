// Where a command computes, and in which numbers.
#pragma once

#include <string>

#include "models/encoder.h"
#include "tensor/communicator.h"
#include "tensor/threads.h"

namespace nextgrad {

struct Placement {
  std::string device = "cpu", precision = "f32";
  int threads = 0;           // 0: all cores
  double wait_limit = 3600;  // seconds
};
inline constexpr const char* kDeviceHelp = "where to compute: cpu, cuda or cuda:N";
inline constexpr const char* kWaitLimitHelp =
    "with mpirun: seconds that one process may wait for another that lives but does not come";
inline constexpr const char* kPrecisionHelp =
    "f32; on a GPU also tf32 (products on tensor cores, inputs rounded to 10 bits) or bf16 (half "
    "the memory, too: activations and products in bfloat16, the NMF's products as by tf32; "
    "weights, statistics and losses in f32). f32 by default: it gives what the CPU gives, to "
    "rounding";

// The device of this process: with several on a machine, each takes the next GPU of "cuda".
inline Device local_device(const std::string& name, Communicator& everyone) {
  const LocalRank local = local_rank(everyone);
  const Device first = Device::parse(name);
  const bool numbered = name.find(':') != std::string::npos;
  if (local.rank == 0 || numbered || first.kind == Device::Kind::cpu) return first;
  const Device next{first.kind, local.rank};
  try {
    backend_of(next);
    return next;
  } catch (const InputError&) {  // a scheduler may show each process its own GPU alone, as number 0
    return first;
  }
}

// Makes the encoder, and what follows it, compute so. Throws InputError for a device and precision
// that do not go together.
inline void set_precision(Encoder& encoder, Device device, const std::string& precision) {
  if (precision != "f32" && device.kind == Device::Kind::cpu)
    fail_input(
        "--precision {} is for a GPU; the CPU computes in f32: leave it out, or add --device "
        "cuda",
        precision);
  backend_of(device).allow_tf32(precision != "f32");
  if (precision == "bf16") encoder.set_activations(DType::bf16);
}

}  // namespace nextgrad
