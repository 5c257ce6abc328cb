// PyTorch's checkpoint files (torch.save): a pickle that names tensors, and their numbers beside
// it, in a zip archive (since 1.6) or one after the other (before).
#pragma once

#include <optional>
#include <string>

#include "data/files/file.h"
#include "data/weights/weights_file.h"

namespace nextgrad {

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
