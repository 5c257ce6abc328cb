#include "data/weights/pickle.h"

#include <bit>
#include <charconv>
#include <cstring>
#include <unordered_map>

#include "data/files/text.h"
#include "data/weights/pickle_opcodes.h"
#include "tensor/error.h"

namespace nextgrad {

namespace {

constexpr std::size_t kMaxNodes = 1u << 22;

}  // namespace

using namespace pickle_op;

class Unpickler {
 public:
  using Id = Pickle::Id;
  using Kind = Pickle::Kind;
  using Node = Pickle::Node;

  Unpickler(const std::string& path, std::span<const std::uint8_t> bytes)
      : path_(path), bytes_(bytes) {
    none_ = add({Kind::none});
    false_ = add({Kind::boolean});
    true_ = add({Kind::boolean, 1});
    empty_tuple_ = add({Kind::tuple});
  }

  Pickle run() {
    for (;;) {
      const auto op = number<std::uint8_t>();
      if (op == STOP) break;
      if (!constant(op) && !container(op) && !memory(op) && !object(op))
        damaged(fmt::format("opcode {:#04x} is not one of a state dict's", op));
    }
    result_.root_ = pop();
    result_.bytes_ = at_;
    return std::move(result_);
  }

 private:
  [[noreturn]] void damaged(const std::string& what) const {
    fail_input("{}: damaged pickle at byte {}: {}", path_, at_, what);
  }

  // --- reading ---
  std::span<const std::uint8_t> take(std::uint64_t n) {
    if (n > bytes_.size() - at_) damaged("it ends too early");
    at_ += n;
    return bytes_.subspan(at_ - n, n);
  }
  template <class T>
  T number() {
    T value{};
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  template <class Length>
  std::string string() {
    const auto n = number<Length>();
    if constexpr (std::is_signed_v<Length>)
      if (n < 0) damaged("a length below 0");
    const auto part = take(static_cast<std::uint64_t>(n));
    return {part.begin(), part.end()};
  }
  // Protocol 0: up to the end of the line.
  std::string line() {
    std::string text;
    for (char c; (c = static_cast<char>(number<std::uint8_t>())) != '\n';) text += c;
    return text;
  }
  template <class T>
  T parse(const std::string& text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
      damaged(fmt::format("{} is no number", in_quotes(text)));
    return value;
  }

  // --- nodes and the stack ---
  Id add(Node node) {
    if (result_.nodes_.size() >= kMaxNodes)
      damaged(fmt::format("more than {} objects; no state dict has as many", kMaxNodes));
    result_.nodes_.push_back(std::move(node));
    return static_cast<Id>(result_.nodes_.size() - 1);
  }
  void push(Node node) { stack_.push_back(add(std::move(node))); }
  void push_text(Kind kind, std::string text) {
    push({.kind = kind, .integer = 0, .real = 0, .text = std::move(text), .items = {}});
  }
  void push_items(Kind kind, std::vector<Id> items) {
    push({.kind = kind, .integer = 0, .real = 0, .text = {}, .items = std::move(items)});
  }
  void push_integer(std::int64_t value) { push({Kind::integer, value}); }
  // Only what lies above the last mark may be popped one by one.
  Id pop() {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) damaged("nothing to take");
    const Id id = stack_.back();
    stack_.pop_back();
    return id;
  }
  Id top() const {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) damaged("nothing to take");
    return stack_.back();
  }
  std::vector<Id> pop_to_mark() {
    if (marks_.empty()) damaged("a mark is missing");
    const auto from = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Id> items(from, stack_.end());
    stack_.erase(from, stack_.end());
    marks_.pop_back();
    return items;
  }
  std::vector<Id> pop_some(std::size_t n) {
    std::vector<Id> items(n);
    for (std::size_t i = n; i-- > 0;) items[i] = pop();
    return items;
  }
  Node& node(Id id) { return result_.nodes_[id]; }

  // A long of n bytes, two's complement.
  void push_long(std::string bytes) {
    if (bytes.size() > 8) return push_text(Kind::big, std::move(bytes));
    std::uint64_t value = !bytes.empty() && (bytes.back() & 0x80) != 0 ? ~0ull : 0;
    std::memcpy(&value, bytes.data(), bytes.size());
    push_integer(static_cast<std::int64_t>(value));
  }
  void push_int_line() {
    const std::string text = line();
    if (text == "00" || text == "01")
      stack_.push_back(text == "01" ? true_ : false_);
    else
      push_integer(parse<std::int64_t>(text));
  }
  void push_long_line() {
    std::string text = line();
    if (text.ends_with('L')) text.pop_back();
    push_integer(parse<std::int64_t>(text));
  }

  bool constant(std::uint8_t op) {
    switch (op) {
      case NONE:
        return stack_.push_back(none_), true;
      case NEWTRUE:
        return stack_.push_back(true_), true;
      case NEWFALSE:
        return stack_.push_back(false_), true;
      case INT:
        return push_int_line(), true;
      case LONG:
        return push_long_line(), true;
      case BININT:
        return push_integer(number<std::int32_t>()), true;
      case BININT1:
        return push_integer(number<std::uint8_t>()), true;
      case BININT2:
        return push_integer(number<std::uint16_t>()), true;
      case LONG1:
        return push_long(string<std::uint8_t>()), true;
      case LONG4:
        return push_long(string<std::int32_t>()), true;
      case FLOAT:
        return push({Kind::real, 0, parse<double>(line())}), true;
      case BINFLOAT:
        return push({Kind::real, 0,
                     std::bit_cast<double>(__builtin_bswap64(number<std::uint64_t>()))}),
               true;
      default:
        return text(op);
    }
  }

  bool text(std::uint8_t op) {
    switch (op) {
      case UNICODE:
        return push_text(Kind::text, line()), true;
      case BINUNICODE:
        return push_text(Kind::text, string<std::uint32_t>()), true;
      case SHORT_BINUNICODE:
        return push_text(Kind::text, string<std::uint8_t>()), true;
      case BINUNICODE8:
        return push_text(Kind::text, string<std::uint64_t>()), true;
      case BINSTRING:  // Python 2's
        return push_text(Kind::text, string<std::int32_t>()), true;
      case SHORT_BINSTRING:
        return push_text(Kind::text, string<std::uint8_t>()), true;
      case BINBYTES:
        return push_text(Kind::bytes, string<std::uint32_t>()), true;
      case SHORT_BINBYTES:
        return push_text(Kind::bytes, string<std::uint8_t>()), true;
      case BINBYTES8:
      case BYTEARRAY8:
        return push_text(Kind::bytes, string<std::uint64_t>()), true;
      default:
        return false;
    }
  }

  bool container(std::uint8_t op) {
    switch (op) {
      case MARK:
        return marks_.push_back(stack_.size()), true;
      case EMPTY_TUPLE:
        return stack_.push_back(empty_tuple_), true;
      case TUPLE:
        return push_items(Kind::tuple, pop_to_mark()), true;
      case TUPLE1:
      case TUPLE2:
      case TUPLE3:
        return push_items(Kind::tuple, pop_some(op - TUPLE1 + 1u)), true;
      case EMPTY_LIST:
        return push({Kind::list}), true;
      case LIST:
        return push_items(Kind::list, pop_to_mark()), true;
      case EMPTY_SET:
        return push({Kind::set}), true;
      case FROZENSET:
        return push_items(Kind::set, pop_to_mark()), true;
      case EMPTY_DICT:
        return push({Kind::dict}), true;
      case DICT:
        return push_dict(pop_to_mark()), true;
      case APPEND:
        return append({pop()}), true;
      case APPENDS:
      case ADDITEMS:
        return append(pop_to_mark()), true;
      case SETITEM: {
        const auto items = pop_some(2);
        return set_items(node(top()), items), true;
      }
      case SETITEMS: {
        const auto items = pop_to_mark();
        return set_items(node(top()), items), true;
      }
      default:
        return false;
    }
  }

  void push_dict(const std::vector<Id>& items) {
    push({Kind::dict});
    set_items(node(stack_.back()), items);
  }
  static bool foreign(const Node& n) { return n.kind == Kind::call || n.kind == Kind::object; }
  void append(const std::vector<Id>& items) {
    Node& list = node(top());
    if (foreign(list)) return;
    if (list.kind != Kind::list && list.kind != Kind::set) damaged("items for what is no list");
    list.items.insert(list.items.end(), items.begin(), items.end());
  }
  void set_items(Node& dict, const std::vector<Id>& items) {
    if (items.size() % 2 != 0) damaged("a key without a value");
    if (foreign(dict)) return;
    if (dict.kind != Kind::dict) damaged("keys for what is no dictionary");
    dict.items.insert(dict.items.end(), items.begin(), items.end());
  }

  bool memory(std::uint8_t op) {
    switch (op) {
      case PROTO:
        if (const auto version = number<std::uint8_t>(); version > 5)
          damaged(fmt::format("protocol {} is not known", version));
        return true;
      case FRAME:
        if (number<std::uint64_t>() > bytes_.size() - at_) damaged("it ends too early");
        return true;
      case POP:
        if (!marks_.empty() && marks_.back() == stack_.size())
          marks_.pop_back();
        else
          pop();
        return true;
      case POP_MARK:
        return pop_to_mark(), true;
      case DUP:
        return stack_.push_back(top()), true;
      case PUT:
        return memo_[parse<std::uint32_t>(line())] = top(), true;
      case BINPUT:
        return memo_[number<std::uint8_t>()] = top(), true;
      case LONG_BINPUT:
        return memo_[number<std::uint32_t>()] = top(), true;
      case MEMOIZE: {
        const auto next = static_cast<std::uint32_t>(memo_.size());
        return memo_[next] = top(), true;
      }
      case GET:
        return get(parse<std::uint32_t>(line())), true;
      case BINGET:
        return get(number<std::uint8_t>()), true;
      case LONG_BINGET:
        return get(number<std::uint32_t>()), true;
      default:
        return false;
    }
  }
  void get(std::uint32_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) damaged(fmt::format("memo {} was never put", index));
    stack_.push_back(found->second);
  }

  bool object(std::uint8_t op) {
    switch (op) {
      case GLOBAL: {
        const std::string module = line();
        return push_text(Kind::global, module + "." + line()), true;
      }
      case STACK_GLOBAL:
        return stack_global(), true;
      case BINPERSID:
        return push_items(Kind::persistent, {pop()}), true;
      case REDUCE:
        return reduce(), true;
      case BUILD:  // attributes of an object: no weights
        return pop(), top(), true;
      case NEWOBJ:
        return push_items(Kind::object, {pop_some(2)[0]}), true;
      case NEWOBJ_EX:
        return push_items(Kind::object, {pop_some(3)[0]}), true;
      case INST: {
        const std::string module = line(), name = line();
        pop_to_mark();
        push_text(Kind::global, module + "." + name);
        return push_items(Kind::object, {pop()}), true;
      }
      case OBJ: {
        const auto items = pop_to_mark();
        if (items.empty()) damaged("an object without a class");
        return push_items(Kind::object, {items[0]}), true;
      }
      default:
        return false;
    }
  }
  void stack_global() {
    const auto names = pop_some(2);
    const Node &module = node(names[0]), &name = node(names[1]);
    if (module.kind != Kind::text || name.kind != Kind::text) damaged("a name that is no text");
    // Texts from the memo cost two bytes each: long ones would multiply.
    if (module.text.size() + name.text.size() > 1000) damaged("a name of absurd length");
    push_text(Kind::global, module.text + "." + name.text);
  }
  // The one call that stands for a plain container: OrderedDict(), perhaps of a list of pairs.
  void reduce() {
    const auto parts = pop_some(2);
    const Node &callee = node(parts[0]), &arguments = node(parts[1]);
    const bool ordered = callee.kind == Kind::global && callee.text == "collections.OrderedDict" &&
                         arguments.kind == Kind::tuple && arguments.items.size() <= 1;
    std::vector<Id> items;
    if (!ordered || !pairs_of(arguments, items)) return push_items(Kind::call, parts);
    push_items(Kind::dict, std::move(items));
  }
  // Flattens ([[key, value], ...],), the items being in proportion to the pickle's bytes.
  bool pairs_of(const Node& arguments, std::vector<Id>& items) {
    if (arguments.items.empty()) return true;
    const Node& list = node(arguments.items[0]);
    if (list.kind != Kind::list || (copied_ += list.items.size()) > bytes_.size()) return false;
    for (const Id id : list.items) {
      const Node& pair = node(id);
      if ((pair.kind != Kind::tuple && pair.kind != Kind::list) || pair.items.size() != 2)
        return false;
      items.insert(items.end(), pair.items.begin(), pair.items.end());
    }
    return true;
  }

  const std::string& path_;
  std::span<const std::uint8_t> bytes_;
  std::uint64_t at_ = 0;
  Pickle result_;
  std::vector<Id> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint32_t, Id> memo_;
  std::uint64_t copied_ = 0;
  Id none_ = 0, false_ = 0, true_ = 0, empty_tuple_ = 0;
};

Pickle parse_pickle(const std::string& path, std::span<const std::uint8_t> bytes) {
  return Unpickler(path, bytes).run();
}

const Pickle::Node* Pickle::find(const Node& dict, std::string_view key) const {
  const Node* found = nullptr;
  for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const Node& k = nodes_[dict.items[i]];
    if (k.kind == Kind::text && k.text == key) found = &nodes_[dict.items[i + 1]];
  }
  return found;
}

}  // namespace nextgrad
