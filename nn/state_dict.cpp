#include "nn/state_dict.h"

#include <algorithm>
#include <functional>
#include <unordered_map>
#include <unordered_set>

namespace nextgrad {

namespace {

struct Entry {  // one tensor of the module
  std::string name;
  Layout layout;  // PyTorch's in the file
  Tensor value;
  std::function<void(Tensor)> assign;
};

std::vector<Entry> entries(const Module& module) {
  std::vector<Entry> all;
  for (const Parameter& p : module.named_parameters())
    all.push_back({p.name, p.layout, p.value.value(), [p](Tensor t) { p.value.set_value(t); }});
  for (const Buffer& b : module.named_buffers())
    all.push_back({b.name, Layout::plain, *b.value, [b](Tensor t) { *b.value = t; }});
  return all;
}

bool is_counter(const std::string& name) {
  return name.ends_with("num_batches_tracked");
}

// "a, b, c, ..."
std::string listed(const std::vector<std::string>& names, std::size_t most) {
  const auto end = names.begin() + static_cast<std::ptrdiff_t>(std::min(most, names.size()));
  return fmt::format("{}{}", fmt::join(names.begin(), end, ", "),
                     names.size() > most ? ", ..." : "");
}

// "; 7 missing: a, b, c, ...", or nothing.
std::string list(const char* title, const std::vector<std::string>& names) {
  return names.empty() ? "" : fmt::format("; {} {}: {}", names.size(), title, listed(names, 3));
}

// "missing: 7: a, b, c, d, ...", or "missing: none".
std::string group(const char* title, const std::vector<std::string>& names) {
  return names.empty() ? fmt::format("{}: none", title)
                       : fmt::format("{}: {}: {}", title, names.size(), listed(names, 4));
}

}  // namespace

StateDict state_dict(const Module& module) {
  StateDict dict;
  for (const Entry& e : entries(module))
    dict.push_back({e.name, to_torch_layout(e.value, e.layout).to(Device{}).clone()});
  return dict;
}

const Tensor& find_tensor(const StateDict& state, const char* what, const std::string& name,
                          const Shape& shape) {
  const auto found = std::ranges::find(state, name, &NamedTensor::name);
  if (found == state.end())
    fail_input("{} state lacks {}; it belongs to another model or optimiser", what, name);
  if (!(found->value.shape() == shape))
    fail_input("{} state: {} is {}, the model needs {}", what, name, found->value.shape(), shape);
  return found->value;
}

bool LoadReport::covers() const {
  return misshaped.empty() && std::all_of(missing.begin(), missing.end(), is_counter);
}

bool LoadReport::complete() const {
  return covers() && unexpected.empty();
}

std::string LoadReport::summary() const {
  const std::size_t wanted = matched.size() + missing.size() + misshaped.size();
  return fmt::format("{} of {} tensors matched", matched.size(), wanted) +
         list("missing", missing) + list("of another shape", misshaped) +
         list("unexpected", unexpected);
}

std::string LoadReport::lines() const {
  std::vector<std::string> absent;
  for (const std::string& name : missing)
    if (!is_counter(name)) absent.push_back(name);
  const std::size_t counters = missing.size() - absent.size();
  const std::string note =
      fmt::format(" (and {} counters num_batches_tracked, which do not matter)", counters);
  return fmt::format("matched: {} of {} tensors\n{}{}\n{}\n{}", matched.size(),
                     matched.size() + missing.size() + misshaped.size(), group("missing", absent),
                     counters > 0 ? note : "", group("unexpected", unexpected),
                     group("mis-shaped", misshaped));
}

LoadReport load_state_dict(Module& module, const StateDict& tensors, bool strict) {
  std::unordered_map<std::string, const Tensor*> file;
  for (const NamedTensor& t : tensors) file[t.name] = &t.value;

  LoadReport report;
  std::vector<std::pair<Entry, const Tensor*>> copies;
  std::unordered_set<std::string> wanted;
  for (Entry& e : entries(module)) {
    wanted.insert(e.name);
    const auto found = file.find(e.name);
    const Shape shape = torch_shape(e.value.shape(), e.layout);
    if (found == file.end()) {
      report.missing.push_back(e.name);
    } else if (!(found->second->shape() == shape)) {
      report.misshaped.push_back(
          fmt::format("{}: file {}, model {}", e.name, found->second->shape(), shape));
    } else {
      report.matched.push_back(e.name);
      copies.emplace_back(std::move(e), found->second);
    }
  }
  for (const NamedTensor& t : tensors)
    if (!wanted.contains(t.name)) report.unexpected.push_back(t.name);
  if (strict && !report.complete())
    fail_input("the weights do not fit the model: {}", report.summary());
  // Copies: never an alias of the dictionary's tensor, which in place updates of the model would
  // change.
  for (const auto& [e, tensor] : copies)
    e.assign(from_torch_layout(*tensor, e.layout).to(e.value.dtype()).to(e.value.device()).clone());
  return report;
}

}  // namespace nextgrad
