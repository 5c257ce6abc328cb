#include "nn/state_dict.h"

#include <algorithm>
#include <functional>
#include <unordered_map>
#include <unordered_set>

namespace nextgrad {

namespace {

// One tensor of the module as a file sees it.
struct Entry {
  std::string name;
  Shape shape;                                // PyTorch's
  std::function<Tensor()> get;                // PyTorch's layout
  std::function<void(const Tensor&)> assign;  // from PyTorch's layout, any dtype
};

// A copy with the dtype and device of `like`: never an alias of the dictionary's tensor, which in
// place updates of the model would change.
Tensor copy_like(const Tensor& source, const Tensor& like) {
  return source.to(like.dtype()).to(like.device()).clone();
}

std::vector<Entry> entries(const Module& module) {
  std::vector<Entry> all;
  for (const Parameter& p : module.named_parameters()) {
    all.push_back({p.name, torch_shape(p.value.shape(), p.layout),
                   [p] { return to_torch_layout(p.value.value(), p.layout); },
                   [p](const Tensor& t) {
                     p.value.set_value(copy_like(from_torch_layout(t, p.layout), p.value.value()));
                   }});
  }
  for (const Buffer& b : module.named_buffers()) {
    all.push_back({b.name, b.value->shape(), [b] { return *b.value; },
                   [b](const Tensor& t) { *b.value = copy_like(t, *b.value); }});
  }
  return all;
}

bool is_counter(const std::string& name) {
  return name.ends_with("num_batches_tracked");
}

std::string list(const char* title, const std::vector<std::string>& names) {
  if (names.empty()) return "";
  std::string text = fmt::format("; {} {}: ", names.size(), title);
  for (std::size_t i = 0; i < names.size() && i < 3; ++i) {
    text += (i > 0 ? ", " : "") + names[i];
  }
  return text + (names.size() > 3 ? ", ..." : "");
}

// "missing: 7: a, b, c, d, ...", or "missing: none".
std::string group(const char* title, const std::vector<std::string>& names,
                  const std::string& note = "") {
  constexpr std::size_t kShown = 4;
  std::string text =
      names.empty() ? fmt::format("{}: none", title) : fmt::format("{}: {}: ", title, names.size());
  for (std::size_t i = 0; i < names.size() && i < kShown; ++i)
    text += (i > 0 ? ", " : "") + names[i];
  return text + (names.size() > kShown ? ", ..." : "") + note;
}

}  // namespace

StateDict state_dict(const Module& module) {
  StateDict dict;
  for (const Entry& e : entries(module)) dict.push_back({e.name, e.get().to(Device{}).clone()});
  return dict;
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
  return fmt::format("matched: {} of {} tensors\n", matched.size(),
                     matched.size() + missing.size() + misshaped.size()) +
         group("missing", absent,
               counters > 0 ? fmt::format(" (and {} counters num_batches_tracked, which do not "
                                          "matter)",
                                          counters)
                            : "") +
         "\n" + group("unexpected", unexpected) + "\n" + group("mis-shaped", misshaped);
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
    if (found == file.end()) {
      report.missing.push_back(e.name);
    } else if (!(found->second->shape() == e.shape)) {
      report.misshaped.push_back(fmt::format("{}: file {}, model {}", e.name,
                                             found->second->shape().str(), e.shape.str()));
    } else {
      report.matched.push_back(e.name);
      copies.emplace_back(std::move(e), found->second);
    }
  }
  for (const NamedTensor& t : tensors) {
    if (!wanted.contains(t.name)) report.unexpected.push_back(t.name);
  }
  if (strict && !report.complete()) {
    fail_input("the weights do not fit the model: {}", report.summary());
  }
  for (const auto& [entry, tensor] : copies) entry.assign(*tensor);
  return report;
}

}  // namespace nextgrad
