#include "data/weights/torch_pickle.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "data/files/text.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

using Node = Pickle::Node;
using Id = Pickle::Id;
using Kind = Pickle::Kind;

constexpr std::uint64_t kMaxElements = 1ull << 40;

// What a foreign node would have been, for a message.
std::string name_of(const Pickle& pickle, const Node& node) {
  if (node.kind == Kind::global) return in_quotes(node.text);
  if (node.kind == Kind::persistent) return "a reference to something outside";
  const Node* named = &pickle[node.items[0]];
  // Old files wrap a class with its source: persistent ("module", class, file, text).
  if (named->kind == Kind::persistent && pickle[named->items[0]].items.size() > 1)
    named = &pickle[pickle[named->items[0]].items[1]];
  const Node& callee = *named;
  return callee.kind == Kind::global ? in_quotes(callee.text) : "something without a name";
}

bool is_foreign(const Node& node) {
  return node.kind == Kind::call || node.kind == Kind::object || node.kind == Kind::global ||
         node.kind == Kind::persistent;
}

std::optional<ElementType> storage_type(const std::string& global, bool& untyped) {
  const std::string name = global.substr(global.rfind('.') + 1);
  const bool torch = global == "torch." + name || global == "torch.cuda." + name ||
                     global == "torch.storage." + name;
  if (!torch) return std::nullopt;
  untyped = name == "UntypedStorage" || name == "_UntypedStorage";
  if (untyped) return ElementType::u8;
  for (const ElementFormat& format : element_formats())
    if (format.storage != nullptr && name == format.storage) return format.type;
  return std::nullopt;
}

// A rebuilding call taken apart.
struct Call {
  std::string callee;
  const Node* arguments;  // a tuple
};

class WeightsFinder {
 public:
  WeightsFinder(const std::string& path, const Pickle& pickle) : path_(path), pickle_(pickle) {}

  TorchWeights run() {
    const Node& root = pickle_[pickle_.root()];
    if (is_foreign(root)) refuse_object(root, "it");
    if (root.kind != Kind::dict)
      fail_input("{}: holds no dictionary of tensors; in Python save model.state_dict()", path_);
    const Node& weights = choose(root);
    for (std::size_t i = 0; i + 1 < weights.items.size(); i += 2) {
      const Node& key = pickle_[weights.items[i]];
      if (&weights == &root && key.kind == Kind::text &&
          (key.text == "meta" || key.text == "optimizer"))
        continue;
      add(key, pickle_[weights.items[i + 1]]);
    }
    if (result_.tensors.empty()) fail_input("{}: holds no tensors; name a file of weights", path_);
    for (std::size_t i = 0; i + 1 < root.items.size(); i += 2) {
      const Node& key = pickle_[root.items[i]];
      if (&weights != &root && key.kind == Kind::text && key.text != result_.key &&
          result_.beside.size() < 20)
        result_.beside.push_back(is_plain_name(key.text) ? key.text : in_quotes(key.text));
    }
    read_meta(root);
    return std::move(result_);
  }

 private:
  [[noreturn]] void refuse_object(const Node& node, const std::string& where) const {
    fail_input(
        "{}: {} is an object, made by {}, which is not executed; in Python save "
        "model.state_dict()",
        path_, where, name_of(pickle_, node));
  }

  const Node& choose(const Node& root) {
    for (const char* key : {"state_dict", "model", "state_dict_ema"}) {
      const Node* node = pickle_.find(root, key);
      if (node == nullptr) continue;
      if (is_foreign(*node) && !is_tensor(*node)) refuse_object(*node, in_quotes(key));
      if (node->kind != Kind::dict || node->items.empty()) continue;
      result_.key = key;
      return *node;
    }
    return root;
  }

  bool is_tensor(const Node& node) const {
    return node.kind == Kind::call && pickle_[node.items[0]].kind == Kind::global &&
           pickle_[node.items[0]].text.starts_with("torch._utils._rebuild_");
  }

  void add(const Node& key, const Node& value) {
    if (key.kind != Kind::text)
      fail_input("{}: the weights have a key that is no text; save model.state_dict()", path_);
    if (value.kind == Kind::call) {
      if (!is_plain_name(key.text))
        fail_input("{}: tensor name {} is not plain ASCII", path_, in_quotes(key.text));
      if (!names_.insert(key.text).second)
        fail_input("{}: tensor {} comes twice", path_, in_quotes(key.text));
      return add_tensor(key.text, value);
    }
    refuse_foreign(key.text, value);
  }

  [[noreturn]] void refuse_among(const std::string& name, const Node& node) const {
    if (is_tensor(node))
      fail_input("{}: {} is a dictionary or list of tensors in its turn; save one flat state dict",
                 path_, in_quotes(name));
    fail_input("{}: {} among the weights holds {}, which is not executed; leave it out in Python",
               path_, in_quotes(name), name_of(pickle_, node));
  }

  // A plain value among the weights is left out; one that contains a foreign thing is not plain.
  void refuse_foreign(const std::string& name, const Node& value) {
    std::vector<const Node*> open{&value};
    while (!open.empty()) {
      const Node& node = *open.back();
      open.pop_back();
      if (is_foreign(node)) refuse_among(name, node);
      for (const Id id : node.items)
        if (pickle_[id].kind >= Kind::tuple && seen_.insert(id).second)
          open.push_back(&pickle_[id]);
    }
  }

  [[noreturn]] void bad(const std::string& name, const std::string& what) const {
    fail_input("{}: tensor {}: {}", path_, in_quotes(name), what);
  }

  // torch._utils._rebuild_parameter(tensor, ...) and the like wrap the call that matters.
  Call unwrap(const std::string& name, const Node& value) const {
    const Node* node = &value;
    for (int depth = 0; depth < 8; ++depth) {
      const Node& callee = pickle_[node->items[0]];
      const Node& arguments = pickle_[node->items[1]];
      const bool call =
          callee.kind == Kind::global && arguments.kind == Kind::tuple && !arguments.items.empty();
      if (!call) break;
      if (callee.text == "torch._tensor._rebuild_from_type_v2" && arguments.items.size() == 4 &&
          is_tensor_class(pickle_[arguments.items[1]]) &&
          pickle_[arguments.items[0]].kind == Kind::global &&
          pickle_[arguments.items[2]].kind == Kind::tuple)
        return {pickle_[arguments.items[0]].text, &pickle_[arguments.items[2]]};
      const bool wrapper = callee.text == "torch._utils._rebuild_parameter" ||
                           callee.text == "torch._utils._rebuild_parameter_with_state";
      if (!wrapper) return {callee.text, &arguments};
      node = &pickle_[arguments.items[0]];
      if (node->kind != Kind::call) break;
    }
    bad(name, fmt::format("it is made by {}, which is not executed; save plain tensors",
                          node->kind == Kind::call || is_foreign(*node) ? name_of(pickle_, *node)
                                                                        : "something unknown"));
  }
  static bool is_tensor_class(const Node& node) {
    return node.kind == Kind::global &&
           (node.text == "torch.Tensor" || node.text == "torch._tensor.Tensor" ||
            node.text == "torch.nn.parameter.Parameter");
  }

  // _rebuild_tensor(storage, offset, size, stride), _v2(..., requires_grad, hooks[, metadata]),
  // _v3(..., requires_grad, hooks, dtype[, metadata]).
  void add_tensor(const std::string& name, const Node& value) {
    const auto [callee, arguments] = unwrap(name, value);
    const auto& a = arguments->items;
    const bool v1 = callee == "torch._utils._rebuild_tensor" && a.size() == 4;
    const bool v2 = callee == "torch._utils._rebuild_tensor_v2" && (a.size() == 6 || a.size() == 7);
    const bool v3 = callee == "torch._utils._rebuild_tensor_v3" && (a.size() == 7 || a.size() == 8);
    if (!v1 && !v2 && !v3)
      bad(name, fmt::format("it is made by {}, which is not executed; save plain dense tensors",
                            in_quotes(callee)));
    const std::size_t plain = v3 ? 7 : 6;
    if (a.size() > plain && !pickle_[a[plain]].items.empty())
      bad(name, "it is a lazy conjugate or negative; save a clone of it");
    const Node& storage = pickle_[a[0]];
    if (storage.kind != Kind::persistent) bad(name, "its storage is not in the file");
    TorchTensor tensor;
    tensor.name = name;
    const Place where = place(a[0]);
    tensor.storage = where.storage;
    tensor.type = v3 ? dtype(name, pickle_[a[6]]) : result_.storages[tensor.storage].type;
    if (!v3 && result_.storages[tensor.storage].untyped) bad(name, "its type is not told");
    tensor.offset = where.offset + whole(name, pickle_[a[1]]);
    tensor.shape = extents(name, pickle_[a[2]]);
    tensor.strides = extents(name, pickle_[a[3]]);
    check_bounds(tensor);
    result_.tensors.push_back(std::move(tensor));
  }

  struct Place {
    std::size_t storage = 0;
    std::uint64_t offset = 0;  // very old files: a storage may be a view of another, so far in
  };
  // Storages are compared by key: many tensors, many persistent ids of one.
  Place place(Id id) {
    if (const auto known = by_id_.find(id); known != by_id_.end()) return known->second;
    std::uint64_t offset = 0;
    const TorchStorage storage = read_storage(pickle_[id], offset);
    const auto [entry, fresh] = by_key_.try_emplace(storage.key, result_.storages.size());
    if (fresh) result_.storages.push_back(storage);
    const TorchStorage& first = result_.storages[entry->second];
    if (first.type != storage.type || first.numel != storage.numel ||
        first.untyped != storage.untyped)
      fail_input("{}: storage {} is told of in two ways", path_, in_quotes(storage.key));
    return by_id_[id] = {entry->second, offset};
  }

  // ("storage", type, key, device, number of elements[, view]); view: None or (key, offset, size).
  TorchStorage read_storage(const Node& persistent, std::uint64_t& offset) const {
    const Node& tuple = pickle_[persistent.items[0]];
    const auto& items = tuple.items;
    const bool known = tuple.kind == Kind::tuple && (items.size() == 5 || items.size() == 6) &&
                       pickle_[items[0]].text == "storage" &&
                       pickle_[items[1]].kind == Kind::global &&
                       pickle_[items[2]].kind == Kind::text;
    if (!known) fail_input("{}: damaged: a tensor's storage is not described", path_);
    TorchStorage storage;
    storage.key = pickle_[items[2]].text;
    const auto type = storage_type(pickle_[items[1]].text, storage.untyped);
    if (!type)
      fail_input("{}: storage {}: type {} cannot be read", path_, in_quotes(storage.key),
                 in_quotes(pickle_[items[1]].text));
    storage.type = *type;
    storage.numel = whole("of storage " + storage.key, pickle_[items[4]]);
    if (items.size() == 6 && pickle_[items[5]].items.size() == 3)
      offset = whole("of storage " + storage.key, pickle_[pickle_[items[5]].items[1]]);
    return storage;
  }

  ElementType dtype(const std::string& name, const Node& node) const {
    if (node.kind == Kind::global)
      for (const ElementFormat& format : element_formats())
        if (node.text == fmt::format("torch.{}", format.torch)) return format.type;
    bad(name, fmt::format("its type {} cannot be read", in_quotes(node.text)));
  }

  std::uint64_t whole(const std::string& name, const Node& node) const {
    if (node.kind != Kind::integer || node.integer < 0 ||
        static_cast<std::uint64_t>(node.integer) > kMaxElements)
      bad(name, "its offset, shape or strides are absurd");
    return static_cast<std::uint64_t>(node.integer);
  }

  // A tuple of numbers, or torch.Size of one.
  Shape extents(const std::string& name, const Node& given) const {
    const Node* node = &given;
    if (node->kind == Kind::call && pickle_[node->items[0]].text == "torch.Size" &&
        pickle_[node->items[1]].items.size() == 1)
      node = &pickle_[pickle_[node->items[1]].items[0]];
    if (node->kind != Kind::tuple && node->kind != Kind::list) bad(name, "its shape is no tuple");
    if (node->items.size() > Shape::kMaxAxes)
      bad(name, fmt::format("it has more than {} axes", Shape::kMaxAxes));
    Shape shape;
    for (const Id id : node->items)
      shape.push_back(static_cast<std::int64_t>(whole(name, pickle_[id])));
    return shape;
  }

  void check_bounds(const TorchTensor& t) const {
    if (t.shape.size() != t.strides.size()) bad(t.name, "its shape and strides do not agree");
    const TorchStorage& storage = result_.storages[t.storage];
    const std::uint64_t bytes = format_of(t.type).bytes;
    unsigned __int128 numel = 1, last = t.offset;
    for (int axis = 0; axis < t.shape.size(); ++axis) {
      const auto extent = static_cast<std::uint64_t>(t.shape[axis]);
      numel *= extent;
      if (numel > kMaxElements) bad(t.name, "its shape is absurdly large");
      if (extent > 0)
        last += static_cast<unsigned __int128>(extent - 1) *
                static_cast<std::uint64_t>(t.strides[axis]);
    }
    if (numel > 0 && (last + 1) * bytes > storage.bytes())
      bad(t.name, fmt::format("it reaches beyond its storage {} of {} bytes",
                              in_quotes(storage.key), storage.bytes()));
  }

  // --- metadata ---
  void read_meta(const Node& root) {
    constexpr std::size_t kMaxText = 1u << 20;
    const Node* meta = pickle_.find(root, "meta");
    if (meta == nullptr || meta->kind != Kind::dict) return;
    std::size_t total = 0;
    for (std::size_t i = 0; i + 1 < meta->items.size(); i += 2) {
      const Node &key = pickle_[meta->items[i]], &value = pickle_[meta->items[i + 1]];
      if (key.kind != Kind::text) continue;
      const std::string text = plain_text(value);
      if (text.empty() && value.kind != Kind::text) continue;
      total += key.text.size() + text.size();
      if (total > kMaxText) break;
      result_.metadata[key.text] = text;
    }
    read_classes(*meta, "CLASSES", "PALETTE");
    if (const Node* data = pickle_.find(*meta, "dataset_meta"); data != nullptr)
      if (data->kind == Kind::dict) {
        read_classes(*data, "CLASSES", "PALETTE");
        read_classes(*data, "classes", "palette");
      }
  }

  static std::string plain_text(const Node& node) {
    if (node.kind == Kind::text) return node.text;
    if (node.kind == Kind::integer) return fmt::format("{}", node.integer);
    if (node.kind == Kind::real) return fmt::format("{}", node.real);
    if (node.kind == Kind::boolean) return node.integer != 0 ? "true" : "false";
    return "";
  }

  // Class names and colours as `segnext train` writes them: JSON.
  void read_classes(const Node& dict, const char* classes, const char* palette) {
    if (result_.metadata.count("classes") > 0) return;
    const Node* names = pickle_.find(dict, classes);
    if (names == nullptr || !is_row(*names, 1, 1000)) return;
    nlohmann::json list = nlohmann::json::array();
    for (const Id id : names->items) {
      if (pickle_[id].kind != Kind::text || pickle_[id].text.size() > 1000) return;
      list.push_back(pickle_[id].text);
    }
    result_.metadata["classes"] = dump(list);
    const Node* colours = pickle_.find(dict, palette);
    if (colours == nullptr || !is_row(*colours, names->items.size(), names->items.size())) return;
    nlohmann::json rows = nlohmann::json::array();
    for (const Id id : colours->items) {
      if (!is_row(pickle_[id], 3, 3)) return;
      nlohmann::json row = nlohmann::json::array();
      for (const Id c : pickle_[id].items) {
        if (pickle_[c].kind != Kind::integer || pickle_[c].integer < 0 || pickle_[c].integer > 255)
          return;
        row.push_back(pickle_[c].integer);
      }
      rows.push_back(row);
    }
    result_.metadata["palette"] = dump(rows);
  }
  static bool is_row(const Node& node, std::size_t least, std::size_t most) {
    return (node.kind == Kind::tuple || node.kind == Kind::list) && node.items.size() >= least &&
           node.items.size() <= most;
  }
  static std::string dump(const nlohmann::json& json) {
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }

  const std::string& path_;
  const Pickle& pickle_;
  TorchWeights result_;
  std::set<std::string> names_;
  std::set<Id> seen_;
  std::map<Id, Place> by_id_;
  std::map<std::string, std::size_t> by_key_;
};

}  // namespace

TorchWeights find_weights(const std::string& path, const Pickle& pickle) {
  return WeightsFinder(path, pickle).run();
}

std::map<std::string, std::uint64_t> storage_element_bytes(const std::string& path,
                                                           const Pickle& pickle) {
  std::map<std::string, std::uint64_t> bytes;
  for (std::size_t id = 0; id < pickle.size(); ++id) {
    const Pickle::Node& node = pickle[static_cast<Id>(id)];
    if (node.kind != Kind::persistent) continue;
    const auto& items = pickle[node.items[0]].items;
    if (items.size() < 5 || pickle[items[0]].text != "storage") continue;
    bool untyped = false;
    const auto type = storage_type(pickle[items[1]].text, untyped);
    const std::string& key = pickle[items[2]].text;
    if (!type)
      fail_input("{}: storage {}: type {} cannot be read", path, in_quotes(key),
                 in_quotes(pickle[items[1]].text));
    bytes[key] = format_of(*type).bytes;
  }
  return bytes;
}

}  // namespace nextgrad
