#include "apps/training/same_run.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tensor/error.h"

namespace nextgrad {
namespace {

using nlohmann::json;

// The first line of `theirs` that is another than root's.
std::string other_line(const std::string& roots, const std::string& theirs) {
  std::istringstream a(roots), b(theirs);
  std::string of_root, own;
  // A setting without its explanation.
  const auto next = [](std::istringstream& text, std::string& line) {
    if (!std::getline(text, line)) line = "nothing more";
    line.resize(std::min(line.size(), line.find("  #")));
  };
  while (of_root == own) {
    next(a, of_root);
    next(b, own);
  }
  return fmt::format("{}, root has {}", own, of_root);
}

// "the split val has 11 samples, root's 12"; empty if they are the same.
std::string other_data(const json& roots, const json& theirs) {
  if (roots == theirs) return {};
  if (roots.at("classes") != theirs.at("classes")) return "its data set has other classes";
  for (std::size_t i = 0; i < roots.at("splits").size(); ++i) {
    const json &a = roots.at("splits")[i], &b = theirs.at("splits").at(i);
    const std::string name = a.at("name");
    if (a.at("samples") != b.at("samples"))
      return fmt::format("its split {} has {} samples, root's {}", name,
                         b.at("samples").get<std::int64_t>(), a.at("samples").get<std::int64_t>());
    if (a != b)
      return fmt::format("its split {} has samples of other names or in another order", name);
  }
  return "its data set is another";
}

std::string difference(const json& roots, const json& theirs) {
  const auto text = [](const json& of, const char* key) { return of.at(key).get<std::string>(); };
  if (roots.at("program") != theirs.at("program"))
    return fmt::format("it runs {}, root {}", text(theirs, "program"), text(roots, "program"));
  if (roots.at("settings") != theirs.at("settings"))
    return other_line(text(roots, "settings"), text(theirs, "settings"));
  if (roots.at("device") != theirs.at("device"))
    return fmt::format("it computes on {}, root on {}", text(theirs, "device"),
                       text(roots, "device"));
  return other_data(roots.at("data"), theirs.at("data"));
}

}  // namespace

void require_same_run(const RunArguments& run, const TrainerOptions& options,
                      Communicator& everyone) {
  const bool cpu = Device::parse(options.device).kind == Device::Kind::cpu;
  const json own = {{"program", run.program},
                    {"settings", options.settings},
                    {"device", cpu ? "the CPU" : "a GPU"},
                    {"data", options.data}};
  const auto texts = everyone.gather(own.dump(-1, ' ', false, json::error_handler_t::replace));
  const json root = json::parse(texts[0]);
  for (std::size_t r = 1; r < texts.size(); ++r)
    if (const std::string other = difference(root, json::parse(texts[r])); !other.empty())
      throw PeerFailure(fmt::format("rank {} of {} does not run what root (rank 0) runs: {}", r,
                                    texts.size(), other),
                        2);
}

std::optional<TrainState> state_of_root(std::optional<TrainState> own, Communicator& everyone) {
  json head;
  if (own) {
    head = {{"iteration", own->iteration}, {"seed", own->seed},   {"best", own->best},
            {"config", own->config},       {"extra", own->extra}, {"tensors", json::array()}};
    for (const auto& [name, t] : own->tensors)
      head["tensors"].push_back({name, static_cast<int>(t.dtype()),
                                 std::vector<std::int64_t>(t.shape().begin(), t.shape().end())});
  }
  // Texts of any bytes go through it as they are.
  const std::vector<std::uint8_t> packed = json::to_cbor(head);
  head = json::from_cbor(everyone.broadcast(std::string(packed.begin(), packed.end())));
  if (head.is_null()) return std::nullopt;
  if (!own) {
    own.emplace();
    own->iteration = head.at("iteration");
    own->seed = head.at("seed");
    own->best = head.at("best");
    own->config = head.at("config");
    head.at("extra").get_to(own->extra);
    for (const json& t : head.at("tensors")) {
      Shape shape;
      for (const std::int64_t extent : t[2]) shape.push_back(extent);
      own->tensors.push_back({t[0], Tensor::empty(shape, static_cast<DType>(t[1].get<int>()))});
    }
  }
  for (auto& [name, t] : own->tensors) {
    t = t.contiguous();
    everyone.broadcast(t);
  }
  return own;
}

}  // namespace nextgrad
