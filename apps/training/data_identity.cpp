#include "apps/training/data_identity.h"

#include <algorithm>

#include "data/files/file.h"
#include "tensor/error.h"

namespace nextgrad {

using nlohmann::json;

namespace {

template <class Name>
json identify(const std::string& split, std::int64_t samples, const Name& name) {
  std::uint32_t listing = 0;
  for (std::int64_t i = 0; i < samples; ++i) {
    const std::string text = name(i);  // with the zero that ends it: names do not run together
    listing = crc32_of(std::string_view(text.c_str(), text.size() + 1), listing);
  }
  return {{"name", split}, {"samples", samples}, {"listing", listing}};
}

}  // namespace

json identity_of(const std::string& split, const Dataset& dataset) {
  return identify(split, dataset.size(), [&](std::int64_t i) { return dataset.name(i); });
}

json identity_of(const std::string& split, const ClassDataset& dataset) {
  return identify(split, dataset.size(), [&](std::int64_t i) {
    return fmt::format("{} {}", dataset.load_label(i), dataset.name(i));
  });
}

std::string difference(const json& before, const json& now) {
  const json &was = before.at("classes"), &is = now.at("classes");
  for (std::size_t c = 0; c < std::min(was.size(), is.size()); ++c)
    if (was[c] != is[c])
      return fmt::format("class {} was {} and is {}", c, was[c].get<std::string>(),
                         is[c].get<std::string>());
  if (was.size() != is.size())
    return fmt::format("there were {} classes and are {}", was.size(), is.size());
  if (before.at("splits").size() != now.at("splits").size()) return "there are other splits";
  for (std::size_t i = 0; i < now.at("splits").size(); ++i) {
    const json &a = before.at("splits").at(i), &b = now.at("splits").at(i);
    const std::string split = b.at("name");
    const std::int64_t had = a.at("samples"), has = b.at("samples");
    if (had != has) return fmt::format("the split {} had {} samples and has {}", split, had, has);
    if (a != b)
      return fmt::format("the split {} has samples of other names, or in another order", split);
  }
  return {};
}

}  // namespace nextgrad
