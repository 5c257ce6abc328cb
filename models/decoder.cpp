#include "models/decoder.h"

#include <algorithm>

#include "autograd/shape_ops.h"
#include "models/aspp_decoder.h"
#include "models/context_decoder.h"
#include "models/mlp_decoder.h"
#include "models/uper_decoder.h"

namespace nextgrad {

using Kind = DecoderConfig::Kind;

namespace {

void check_config(const DecoderConfig& c) {
  if (c.stages.empty() || c.stages.front() < 1 || c.stages.back() > 4 ||
      !std::ranges::is_sorted(c.stages, std::less_equal{}))
    fail_input("decoder.stages: are of 1 to 4, ascending, each once; such as 2,3,4");
  if (c.width < 1 || c.width % kNormGroups != 0)
    fail_input("decoder.width {}: must be a multiple of {}", c.width, kNormGroups);
  if ((c.kind == Kind::ham || c.kind == Kind::ema) && c.ham.rank > c.width)
    fail_input("decoder.rank {}: is above decoder.width {}, so that nothing would be of low rank",
               c.ham.rank, c.width);
  if (c.kind == Kind::uper && c.stages.size() < 2)
    fail_input(
        "decoder.stages {}: uper's pyramid goes from the last of several stages down to the first; "
        "such as 1,2,3,4",
        c.stages.front());
}

}  // namespace

Variable joined(const std::vector<Variable>& stages, const std::vector<int>& numbers) {
  std::vector<Variable> parts;
  for (const int number : numbers) parts.push_back(stages.at(static_cast<std::size_t>(number - 1)));
  return join_resized(parts, parts.front().dim(1), parts.front().dim(2));
}

int joined_channels(const std::vector<int>& numbers, const std::array<int, 4>& channels) {
  int sum = 0;
  for (const int number : numbers) sum += channels.at(static_cast<std::size_t>(number - 1));
  return sum;
}

std::unique_ptr<Decoder> make_decoder(const DecoderConfig& config,
                                      const std::array<int, 4>& channels, int classes) {
  check_config(config);
  switch (config.kind) {
    case Kind::aspp: return std::make_unique<ASPPDecoder>(config, channels, classes);
    case Kind::mlp: return std::make_unique<MLPDecoder>(config, channels, classes);
    case Kind::uper: return std::make_unique<UPerDecoder>(config, channels, classes);
    default: return std::make_unique<ContextDecoder>(config, channels, classes);
  }
}

}  // namespace nextgrad
