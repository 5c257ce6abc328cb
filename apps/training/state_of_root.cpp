#include "apps/training/state_of_root.h"

#include <nlohmann/json.hpp>

namespace nextgrad {

using nlohmann::json;

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
