#include "apps/settings/same.h"

#include <algorithm>
#include <sstream>

namespace nextgrad {
namespace {

// The first line that two texts do not share, of each; a setting without its explanation.
std::pair<std::string, std::string> first_other(const std::string& a, const std::string& b) {
  std::istringstream of_a(a), of_b(b);
  const auto next = [](std::istringstream& text) {
    std::string line;
    if (!std::getline(text, line)) line = "nothing more";
    line.resize(std::min(line.size(), line.find("  #")));
    return line;
  };
  for (;;) {
    const std::string x = next(of_a), y = next(of_b);
    if (x != y) return {x, y};
  }
}

}  // namespace

void require_same(const std::string& lines, Communicator& everyone) {
  const auto texts = everyone.gather(lines);
  for (std::size_t r = 1; r < texts.size(); ++r) {
    if (texts[r] == texts[0]) continue;
    const auto [roots, theirs] = first_other(texts[0], texts[r]);
    throw PeerFailure(
        fmt::format("rank {} of {} does not run what root (rank 0) runs: {}, root has {}", r,
                    texts.size(), theirs, roots),
        2);
  }
}

}  // namespace nextgrad
