#include "data/weights/torch_pickle.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "data/files/text.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

using Node = Pickle::Node;
using Kind = Pickle::Kind;
using nlohmann::json;

bool is_foreign(const Node& node) {
  return node.kind == Kind::call || node.kind == Kind::object || node.kind == Kind::global ||
         node.kind == Kind::persistent;
}

// What a foreign node would have been, for a message.
std::string name_of(const Node& node) {
  if (node.kind == Kind::global) return in_quotes(node.text);
  if (node.kind == Kind::persistent) return "a reference to something outside";
  const Node* callee = node.items[0];
  // Old files wrap a class with its source: persistent ("module", class, file, text).
  if (callee->kind == Kind::persistent && callee->items[0]->items.size() > 1)
    callee = callee->items[0]->items[1];
  return callee->kind == Kind::global ? in_quotes(callee->text) : "something without a name";
}

// Of a tuple ("storage", type, key, ...); not its number of elements.
TorchStorage typed_storage(const Pickle::Nodes& items) {
  TorchStorage storage{.key = items[2]->text};
  const std::string& global = items[1]->text;
  const std::string name = global.substr(global.rfind('.') + 1);
  storage.untyped = name == "UntypedStorage" || name == "_UntypedStorage";
  const auto formats = element_formats();
  const auto format = std::find_if(formats.begin(), formats.end(), [&](const ElementFormat& f) {
    return storage.untyped ? f.type == ElementType::u8 : f.storage != nullptr && name == f.storage;
  });
  const bool torch = global == "torch." + name || global == "torch.cuda." + name ||
                     global == "torch.storage." + name;
  if (!torch || format == formats.end())
    fail_input("storage {}: type {} cannot be read", in_quotes(storage.key), in_quotes(global));
  storage.type = format->type;
  return storage;
}

class WeightsFinder {
 public:
  TorchWeights run(const Node& root) {
    if (is_foreign(root)) refuse_object("it", root);
    if (root.kind != Kind::dict)
      fail_input("holds no dictionary of tensors; in Python save model.state_dict()");
    const Node& weights = choose(root);
    const auto beside = [](const Node& key) {
      return key.kind == Kind::text && (key.text == "meta" || key.text == "optimizer");
    };
    for (const auto& [key, value] : weights.pairs())
      if (&weights != &root || !beside(*key)) add(*key, *value);
    if (result_.tensors.empty()) fail_input("holds no tensors; name a file of weights");
    for (const auto& [key, value] : root.pairs())
      if (&weights != &root && key->kind == Kind::text && key->text != result_.file.key &&
          result_.file.beside.size() < 20)
        result_.file.beside.push_back(is_plain_name(key->text) ? key->text : in_quotes(key->text));
    if (const Node* meta = dictionary(root, "meta")) read_meta(*meta);
    return std::move(result_);
  }

 private:
  [[noreturn]] void refuse_object(const std::string& where, const Node& node) const {
    fail_input(
        "{} is an object, made by {}, which is not executed; in Python save model.state_dict()",
        where, name_of(node));
  }

  const Node& choose(const Node& root) {
    for (const char* key : {"state_dict", "model", "state_dict_ema"}) {
      const Node* node = root.find(key);
      if (node == nullptr) continue;
      if (is_foreign(*node) && !is_tensor(*node)) refuse_object(in_quotes(key), *node);
      if (node->kind != Kind::dict || node->items.empty()) continue;
      result_.file.key = key;
      return *node;
    }
    return root;
  }

  bool is_tensor(const Node& node) const {
    return node.kind == Kind::call && node.items[0]->kind == Kind::global &&
           node.items[0]->text.starts_with("torch._utils._rebuild_");
  }

  void add(const Node& key, const Node& value) {
    if (key.kind != Kind::text)
      fail_input("the weights have a key that is no text; save model.state_dict()");
    name_ = key.text;
    if (value.kind != Kind::call) return refuse_foreign(value);
    if (!is_plain_name(name_)) fail_input("tensor name {} is not plain ASCII", in_quotes(name_));
    if (!names_.insert(name_).second) fail_input("tensor {} comes twice", in_quotes(name_));
    add_tensor(value);
  }

  // A plain value among the weights is left out; one that contains a foreign thing is not plain.
  void refuse_foreign(const Node& value) {
    std::vector<const Node*> open{&value};
    while (!open.empty()) {
      const Node& node = *open.back();
      open.pop_back();
      if (is_tensor(node))
        fail_input("{} is a dictionary or list of tensors in its turn; save one flat state dict",
                   in_quotes(name_));
      if (is_foreign(node))
        fail_input("{} among the weights holds {}, which is not executed; leave it out in Python",
                   in_quotes(name_), name_of(node));
      for (const Node* item : node.items)
        if (item->kind >= Kind::tuple && seen_.insert(item).second) open.push_back(item);
    }
  }

  // --- the tensor called name_ ---
  [[noreturn]] void bad(const std::string& what) const {
    fail_input("tensor {}: {}", in_quotes(name_), what);
  }

  // What rebuilds it, and with which arguments (a tuple).
  struct Call {
    std::string callee;
    const Pickle::Nodes& arguments;
  };
  // torch._utils._rebuild_parameter(tensor, ...) and the like wrap the call that matters.
  Call unwrap(const Node& value) const {
    const Node* node = &value;
    for (int depth = 0; depth < 8 && node->kind == Kind::call; ++depth) {
      const Node &callee = *node->items[0], &arguments = *node->items[1];
      const auto& a = arguments.items;
      if (callee.kind != Kind::global || arguments.kind != Kind::tuple || a.empty()) break;
      if (callee.text == "torch._tensor._rebuild_from_type_v2" && a.size() == 4 &&
          is_tensor_class(*a[1]) && a[0]->kind == Kind::global && a[2]->kind == Kind::tuple)
        return {a[0]->text, a[2]->items};
      if (callee.text != "torch._utils._rebuild_parameter" &&
          callee.text != "torch._utils._rebuild_parameter_with_state")
        return {callee.text, a};
      node = a[0];
    }
    bad(fmt::format("it is made by {}, which is not executed; save plain tensors",
                    is_foreign(*node) ? name_of(*node) : "something unknown"));
  }
  static bool is_tensor_class(const Node& node) {
    return node.kind == Kind::global &&
           (node.text == "torch.Tensor" || node.text == "torch._tensor.Tensor" ||
            node.text == "torch.nn.parameter.Parameter");
  }

  // _rebuild_tensor(storage, offset, size, stride), _v2(..., requires_grad, hooks[, metadata]),
  // _v3(..., requires_grad, hooks, dtype[, metadata]).
  void add_tensor(const Node& value) {
    const auto& [callee, a] = unwrap(value);
    const bool v1 = callee == "torch._utils._rebuild_tensor" && a.size() == 4;
    const bool v2 = callee == "torch._utils._rebuild_tensor_v2" && (a.size() == 6 || a.size() == 7);
    const bool v3 = callee == "torch._utils._rebuild_tensor_v3" && (a.size() == 7 || a.size() == 8);
    if (!v1 && !v2 && !v3)
      bad(fmt::format("it is made by {}, which is not executed; save plain dense tensors",
                      in_quotes(callee)));
    const std::size_t plain = v3 ? 7 : 6;
    if (a.size() > plain && !a[plain]->items.empty())
      bad("it is a lazy conjugate or negative; save a clone of it");
    const auto [storage, offset] = place(a[0]);
    TorchTensor tensor{name_, storage, result_.storages[storage].type};
    if (v3) tensor.type = dtype(*a[6]);
    if (!v3 && result_.storages[storage].untyped) bad("its type is not told");
    tensor.offset = offset + whole(a[1]);
    tensor.shape = extents(a[2]);
    tensor.strides = extents(a[3]);
    check_bounds(tensor);
    result_.tensors.push_back(std::move(tensor));
  }

  // Which storage a persistent id means; very old files: it may be a view of one, so far in.
  struct Place {
    std::size_t storage = 0;
    std::uint64_t offset = 0;
  };
  // ("storage", type, key, device, number of elements[, view]); view: None or (key, offset, size).
  // Storages are compared by key: many tensors, many persistent ids of one.
  Place place(const Node* id) {
    if (const auto known = by_id_.find(id); known != by_id_.end()) return known->second;
    if (id->kind != Kind::persistent) bad("its storage is not in the file");
    const Node& tuple = *id->items[0];
    const auto& items = tuple.items;
    if (tuple.kind != Kind::tuple || (items.size() != 5 && items.size() != 6) ||
        items[0]->text != "storage" || items[1]->kind != Kind::global ||
        items[2]->kind != Kind::text)
      fail_input("damaged: a tensor's storage is not described");
    TorchStorage storage = typed_storage(items);
    storage.numel = whole(items[4]);
    const bool view = items.size() == 6 && items[5]->items.size() == 3;
    const auto [entry, fresh] = by_key_.try_emplace(storage.key, result_.storages.size());
    if (fresh) result_.storages.push_back(storage);
    if (result_.storages[entry->second] != storage)
      fail_input("storage {} is told of in two ways", in_quotes(storage.key));
    return by_id_[id] = {entry->second, view ? whole(items[5]->items[1]) : 0};
  }

  ElementType dtype(const Node& node) const {
    for (const ElementFormat& format : element_formats())
      if (node.kind == Kind::global && node.text == fmt::format("torch.{}", format.torch))
        return format.type;
    bad(fmt::format("its type {} cannot be read", in_quotes(node.text)));
  }

  std::uint64_t whole(const Node* node) const {
    if (node->kind != Kind::integer || node->integer < 0 ||
        static_cast<std::uint64_t>(node->integer) > kMaxElements)
      bad("its offset, shape or strides are absurd");
    return static_cast<std::uint64_t>(node->integer);
  }

  // A tuple of numbers, or torch.Size of one.
  Shape extents(const Node* node) const {
    if (node->kind == Kind::call && node->items[0]->text == "torch.Size" &&
        node->items[1]->items.size() == 1)
      node = node->items[1]->items[0];
    if (!node->is_sequence()) bad("its shape is no tuple");
    if (node->items.size() > Shape::kMaxAxes)
      bad(fmt::format("it has more than {} axes", Shape::kMaxAxes));
    Shape shape;
    for (const Node* extent : node->items)
      shape.push_back(static_cast<std::int64_t>(whole(extent)));
    return shape;
  }

  void check_bounds(const TorchTensor& t) const {
    if (t.shape.size() != t.strides.size()) bad("its shape and strides do not agree");
    const TorchStorage& storage = result_.storages[t.storage];
    unsigned __int128 numel = 1, last = t.offset;
    for (int axis = 0; axis < t.shape.size(); ++axis) {
      const auto extent = static_cast<std::uint64_t>(t.shape[axis]);
      numel *= extent;
      if (numel > kMaxElements) bad("its shape is absurdly large");
      if (extent > 0)
        last += static_cast<unsigned __int128>(extent - 1) *
                static_cast<std::uint64_t>(t.strides[axis]);
    }
    if (numel > 0 && (last + 1) * format_of(t.type).bytes > storage.bytes())
      bad(fmt::format("it reaches beyond its storage {} of {} bytes", in_quotes(storage.key),
                      storage.bytes()));
  }

  // --- metadata ---
  const Node* dictionary(const Node& dict, const char* key) const {
    const Node* node = dict.find(key);
    return node != nullptr && node->kind == Kind::dict ? node : nullptr;
  }

  void read_meta(const Node& meta) {
    constexpr std::size_t kMaxText = 1u << 20;
    std::size_t total = 0;
    for (const auto& [key, value] : meta.pairs()) {
      if (key->kind != Kind::text) continue;
      const std::string text = plain_text(*value);
      if (text.empty() && value->kind != Kind::text) continue;
      total += key->text.size() + text.size();
      if (total > kMaxText) break;
      result_.file.metadata[key->text] = text;
    }
    read_classes(meta, "CLASSES", "PALETTE");
    if (const Node* data = dictionary(meta, "dataset_meta")) {
      read_classes(*data, "CLASSES", "PALETTE");
      read_classes(*data, "classes", "palette");
    }
  }

  static std::string plain_text(const Node& node) {
    if (node.kind == Kind::text) return node.text;
    if (node.kind == Kind::integer) return fmt::format("{}", node.integer);
    if (node.kind == Kind::real) return fmt::format("{}", node.real());
    if (node.kind == Kind::boolean) return node.integer != 0 ? "true" : "false";
    return "";
  }

  // Class names and colours as `segnext train` writes them: JSON.
  void read_classes(const Node& dict, const char* classes, const char* palette) {
    if (result_.file.metadata.contains("classes")) return;
    const json names = row(dict.find(classes), 1, 1000, [](const Node& name) {
      return name.kind == Kind::text && name.text.size() <= 1000 ? json(name.text) : json();
    });
    if (names.is_null()) return;
    set_json("classes", names);
    const auto channel = [](const Node& node) {
      return node.kind == Kind::integer && node.integer >= 0 && node.integer <= 255
                 ? json(node.integer)
                 : json();
    };
    const json colours = row(dict.find(palette), names.size(), names.size(),
                             [&](const Node& colour) { return row(&colour, 3, 3, channel); });
    if (!colours.is_null()) set_json("palette", colours);
  }
  // The items of a list or tuple of so many, each made JSON by `convert`; null unless all can be.
  template <class Convert>
  json row(const Node* node, std::size_t least, std::size_t most, const Convert& convert) const {
    if (node == nullptr || !node->is_sequence()) return {};
    if (node->items.size() < least || node->items.size() > most) return {};
    json list = json::array();
    for (const Node* item : node->items) {
      list.push_back(convert(*item));
      if (list.back().is_null()) return {};
    }
    return list;
  }
  void set_json(const char* key, const json& value) {
    result_.file.metadata[key] = value.dump(-1, ' ', false, json::error_handler_t::replace);
  }

  TorchWeights result_;
  std::string name_;
  std::set<std::string> names_;
  std::set<const Node*> seen_;
  std::map<const Node*, Place> by_id_;
  std::map<std::string, std::size_t> by_key_;
};

}  // namespace

TorchWeights find_weights(const Pickle& pickle) {
  return WeightsFinder().run(pickle.top());
}

std::map<std::string, std::uint64_t> storage_element_bytes(const Pickle& pickle) {
  std::map<std::string, std::uint64_t> bytes;
  for (const Pickle::Node& node : pickle.nodes) {
    if (node.kind != Pickle::Kind::persistent) continue;
    const auto& items = node.items[0]->items;
    if (items.size() < 5 || items[0]->text != "storage") continue;
    const TorchStorage storage = typed_storage(items);
    bytes[storage.key] = format_of(storage.type).bytes;
  }
  return bytes;
}

}  // namespace nextgrad
