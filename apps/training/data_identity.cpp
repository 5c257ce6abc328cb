#include "apps/training/data_identity.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/files/file.h"
#include "tensor/error.h"

namespace nextgrad {

using nlohmann::json;

void DataIdentity::add(const std::string& split, std::int64_t samples,
                       const std::function<std::string(std::int64_t)>& name) {
  Split s{split, samples, 0};
  for (std::int64_t i = 0; i < samples; ++i) {
    const std::string text = name(i);  // with the zero that ends it: names do not run together
    s.listing = crc32_of(std::string_view(text.c_str(), text.size() + 1), s.listing);
  }
  splits.push_back(s);
}

std::string DataIdentity::str() const {
  json out{{"classes", classes}, {"splits", json::array()}};
  for (const Split& s : splits)
    out["splits"].push_back({{"name", s.name}, {"samples", s.samples}, {"listing", s.listing}});
  return out.dump();
}

DataIdentity parse_data_identity(const std::string& text) {
  DataIdentity identity;
  try {
    const json in = json::parse(text);
    in.at("classes").get_to(identity.classes);
    for (const json& s : in.at("splits"))
      identity.splits.push_back({s.at("name"), s.at("samples"), s.at("listing")});
  } catch (const json::exception&) {
    fail_input("what it says of its data set is damaged");
  }
  return identity;
}

std::string difference(const DataIdentity& before, const DataIdentity& now) {
  const std::size_t n = std::min(before.classes.size(), now.classes.size());
  for (std::size_t c = 0; c < n; ++c)
    if (before.classes[c] != now.classes[c])
      return fmt::format("class {} was {} and is {}", c, before.classes[c], now.classes[c]);
  if (before.classes.size() != now.classes.size())
    return fmt::format("there were {} classes and are {}", before.classes.size(),
                       now.classes.size());
  if (before.splits.size() != now.splits.size()) return "there are other splits";
  for (std::size_t i = 0; i < now.splits.size(); ++i) {
    const auto &a = before.splits[i], &b = now.splits[i];
    if (a.samples != b.samples)
      return fmt::format("the split {} had {} samples and has {}", b.name, a.samples, b.samples);
    if (a.name != b.name || a.listing != b.listing)
      return fmt::format("the split {} has samples of other names, or in another order", b.name);
  }
  return {};
}

}  // namespace nextgrad
