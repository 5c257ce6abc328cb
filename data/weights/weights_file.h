// A file of weights, whichever kind: .safetensors or PyTorch's .pth (zip, or the older format).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "data/files/file.h"
#include "data/weights/element_type.h"
#include "nn/state_dict.h"

namespace nextgrad {

using Metadata = std::map<std::string, std::string>;

struct WeightsFile {
  std::string path = {};    // of the file itself
  std::string format = {};  // "safetensors", "PyTorch zip", "PyTorch legacy"
  // .pth: the key under which the weights were, "state_dict" and the like; "" at the top level.
  std::string key = {};
  StateDict tensors = {};               // PyTorch's names and layouts, on the CPU
  std::vector<ElementType> types = {};  // of each tensor in the file
  Metadata metadata = {};
  bool summed = false;  // it had check sums, which were right
  // .pth: what lies beside the weights ("meta", "optimizer") and was not read as weights.
  std::vector<std::string> beside = {};
  const Tensor* find(const std::string& name) const;  // nullptr if there is none
};

// Opens by content, not by suffix; a run's folder means its best.safetensors. Throws InputError for
// what is neither, or is damaged.
WeightsFile read_weights(const std::string& path);

// What no network can compute with, a text for each tensor: numbers that are not finite (as f32,
// which weights become), a running_var below 0.
std::vector<std::string> unusable(const StateDict& tensors);
// Throws InputError that names the first of them.
void check_usable(const std::string& path, const StateDict& tensors);

// --- .safetensors (huggingface.co/docs/safetensors): 8 bytes little-endian length, a JSON header
// {name: {dtype, shape, data_offsets}, "__metadata__": {key: text}}, the numbers ---

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
// They are not part of `metadata`. A file without any is taken. The tensors are in the order of the
// file's bytes.
WeightsFile read_safetensors(const std::string& path);

// --- PyTorch's checkpoint files (torch.save): a pickle that names tensors, and their numbers
// beside it, in a zip archive (since 1.6) or one after the other (before) ---

// Reads the weights of a checkpoint: the dictionary under `state_dict`, `model` or
// `state_dict_ema`, the first that is there in this order, else the top level; nothing for a file
// that does not begin like a checkpoint. The file's pickle is never executed. Inside the weights,
// anything but tensors (and plain values, which are left out) throws InputError with its name;
// outside it is skipped. `meta` becomes metadata: its texts and numbers, the class names and
// palette of MMSegmentation (CLASSES, PALETTE; dataset_meta) as `classes` and `palette`. Throws
// InputError for a damaged file, for big-endian numbers, and where tensors that share their numbers
// would take over eight times the file's bytes.
std::optional<WeightsFile> read_torch_file(const InputFile& file);

// Writes {"meta": metadata, "state_dict": tensors} as torch.save does (zip, protocol 2), so that
// torch.load(path, weights_only=True) reads it; atomically. types[i]: as what tensor i is written.
// Throws Error for two equal names and data/files/file.h's errors; InputError beyond 4 GB.
void write_torch_file(const std::string& path, const StateDict& tensors,
                      const std::vector<ElementType>& types, const Metadata& metadata = {});

}  // namespace nextgrad
