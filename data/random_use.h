// The `use` of RandomKey for what data/ draws; distinct from the layers' small numbers.
#pragma once

#include <cstdint>

namespace nextgrad {

inline constexpr std::uint32_t kUseShuffle = 0xDA7A0001;
inline constexpr std::uint32_t kUseAugment = 0xDA7A0002;
inline constexpr std::uint32_t kUseScene = 0xDA7A0003;
inline constexpr std::uint32_t kUseMix = 0xDA7A0004;

}  // namespace nextgrad
