// The .safetensors format (huggingface.co/docs/safetensors): 8 bytes little-endian length, a JSON
// header {name: {dtype, shape, data_offsets}, "__metadata__": {key: text}}, the numbers.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "data/weights/element_type.h"
#include "nn/state_dict.h"
#include "tensor/tensor.h"

namespace nextgrad {

using Metadata = std::map<std::string, std::string>;

struct SafeTensors {
  std::vector<NamedTensor> tensors = {};  // in the order of the file's bytes
  std::vector<ElementType> types = {};    // of each tensor in the file
  Metadata metadata = {};
  bool summed = false;                                // it had check sums, which were right
  const Tensor* find(const std::string& name) const;  // nullptr if there is none
};

// Writes tensors as what they are (F32, F64, BF16, I64, I32, U8), atomically; from any device, any
// strides. Check sums go into the file's metadata, as `crc32` and `crc32.header`. Throws Error for
// two equal names and data/files/file.h's errors.
void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const Metadata& metadata = {});
// Writes tensor i as types[i].
void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::vector<ElementType>& types, const Metadata& metadata);
// What every writer of tensors asks: a type for each, and no two of one name; else throws Error.
void check_names(const std::string& path, const std::vector<NamedTensor>& tensors,
                 const std::vector<ElementType>& types);

// Reads every type of data/weights/element_type.h to the CPU, each tensor's bytes once. Throws
// InputError that names the file for anything damaged, truncated, contradictory or of another type,
// before allocating what a lying header asks for; and the tensor for check sums that are wrong.
// They are not part of `metadata`. A file without any is taken.
SafeTensors read_safetensors(const std::string& path);

}  // namespace nextgrad
