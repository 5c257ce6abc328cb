// What the ranks of a command must agree on before they begin.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "data/datasets/dataset.h"
#include "data/files/file.h"
#include "tensor/communicator.h"

namespace nextgrad {

// Throws PeerFailure (as of bad input) that names the first line that another rank has otherwise
// than root. All ranks call it.
void require_same(const std::string& lines, Communicator& everyone);

// CRC-32 of the samples' names, and of their classes if they are pictures of one, in order.
template <class Data>
std::uint32_t listing_of(const Data& data) {
  std::uint32_t listing = 0;
  for (std::int64_t i = 0; i < data.size(); ++i) {
    std::string text = data.name(i);
    if constexpr (std::is_same_v<Data, ClassDataset>)
      text = fmt::format("{} {}", data.load_label(i), text);
    // With the zero that ends it: names do not run together.
    listing = crc32_of(std::string_view(text.c_str(), text.size() + 1), listing);
  }
  return listing;
}
inline std::string line_of(const std::string& split, std::int64_t samples, std::uint32_t listing) {
  return fmt::format("split {} of {} samples, their names' CRC-32 {:08x}\n", split, samples,
                     listing);
}
template <class Data>
std::string line_of(const std::string& split, const Data& data) {
  return line_of(split, data.size(), listing_of(data));
}

}  // namespace nextgrad
