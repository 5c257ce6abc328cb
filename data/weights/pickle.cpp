#include "data/weights/pickle.h"

#include <array>
#include <bit>
#include <cstring>
#include <unordered_map>

#include "data/files/text.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

using Kind = Pickle::Kind;
using Node = Pickle::Node;
using Nodes = Pickle::Nodes;

constexpr std::size_t kMaxNodes = 1u << 22;

// Runs the program on a stack of nodes: what each opcode does stands in kOpcodes.
class Unpickler {
 public:
  explicit Unpickler(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  Pickle run();

 private:
  struct Opcode {
    unsigned char code;
    void (*run)(Unpickler&);
  };
  using U = Unpickler;
  static const Opcode kOpcodes[];

  [[noreturn]] void damaged(const std::string& what) const {
    fail_input("damaged pickle at byte {}: {}", at_, what);
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
  double big_endian() { return std::bit_cast<double>(__builtin_bswap64(number<std::uint64_t>())); }
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
    if (const auto value = parse_number<T>(text)) return *value;
    damaged(fmt::format("{} is no number", in_quotes(text)));
  }
  // Two lines: a class or function by its module and name.
  std::string name() {
    const std::string module = line();
    return module + "." + line();
  }

  // --- nodes and the stack ---
  Node* add(Node node) {
    if (result_.nodes.size() >= kMaxNodes)
      damaged(fmt::format("more than {} objects; no state dict has as many", kMaxNodes));
    return &result_.nodes.emplace_back(std::move(node));
  }
  void push(Node* node) { stack_.push_back(node); }
  void push(Kind kind, Nodes items) { push(add({kind, std::move(items)})); }
  void push(Kind kind, std::string text) { push(add({kind, {}, std::move(text)})); }
  void push_integer(std::int64_t value) { push(add({Kind::integer, {}, {}, value})); }
  void push_real(double value) {
    push(add({Kind::real, {}, {}, std::bit_cast<std::int64_t>(value)}));
  }
  // Only what lies above the last mark may be popped one by one.
  Node* top() const {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) damaged("nothing to take");
    return stack_.back();
  }
  Node* pop() {
    Node* node = top();
    stack_.pop_back();
    return node;
  }
  Nodes pop_to_mark() {
    if (marks_.empty()) damaged("a mark is missing");
    const auto from = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    Nodes items(from, stack_.end());
    stack_.erase(from, stack_.end());
    marks_.pop_back();
    return items;
  }
  Nodes pop_some(std::size_t n) {
    Nodes items(n);
    for (std::size_t i = n; i-- > 0;) items[i] = pop();
    return items;
  }

  // --- what takes more than a line ---
  void push_line_integer() {
    const std::string text = line();
    if (text == "00" || text == "01")
      push(text == "01" ? true_ : false_);
    else
      push_integer(parse<std::int64_t>(text));
  }
  void push_line_long() {
    std::string text = line();
    if (text.ends_with('L')) text.pop_back();
    push_integer(parse<std::int64_t>(text));
  }
  // A whole number of any size, two's complement.
  void push_long(std::string bytes) {
    if (bytes.size() > 8) return push(Kind::big, std::move(bytes));
    std::uint64_t value = !bytes.empty() && (bytes.back() & 0x80) != 0 ? ~0ull : 0;
    std::memcpy(&value, bytes.data(), bytes.size());
    push_integer(static_cast<std::int64_t>(value));
  }
  // Items for the list, set or dictionary on the top; of what is foreign they are dropped.
  void extend(bool pairs, const Nodes& items) {
    Node& node = *top();
    if (pairs && items.size() % 2 != 0) damaged("a key without a value");
    if (node.kind == Kind::call || node.kind == Kind::object) return;
    if (pairs && node.kind != Kind::dict) damaged("keys for what is no dictionary");
    if (!pairs && node.kind != Kind::list && node.kind != Kind::set)
      damaged("items for what is no list");
    node.items.insert(node.items.end(), items.begin(), items.end());
  }
  void push_dict(const Nodes& items) {
    push(Kind::dict, Nodes());
    extend(true, items);
  }
  void pop_or_unmark() {
    if (!marks_.empty() && marks_.back() == stack_.size())
      marks_.pop_back();
    else
      pop();
  }
  void check_protocol() {
    if (const auto version = number<std::uint8_t>(); version > 5)
      damaged(fmt::format("protocol {} is not known", version));
  }
  void check_frame() {
    if (number<std::uint64_t>() > bytes_.size() - at_) damaged("it ends too early");
  }
  std::uint32_t memo_next() const { return static_cast<std::uint32_t>(memo_.size()); }
  void get(std::uint32_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) damaged(fmt::format("memo {} was never put", index));
    push(found->second);
  }
  void push_stack_global() {
    const auto names = pop_some(2);
    const Node &module = *names[0], &name = *names[1];
    if (module.kind != Kind::text || name.kind != Kind::text) damaged("a name that is no text");
    // Texts from the memo cost two bytes each: long ones would multiply.
    if (module.text.size() + name.text.size() > 1000) damaged("a name of absurd length");
    push(Kind::global, module.text + "." + name.text);
  }
  void push_instance() {
    const std::string type = name();
    pop_to_mark();
    push(Kind::global, type);
    push(Kind::object, Nodes{pop()});
  }
  void push_object(const Nodes& items) {
    if (items.empty()) damaged("an object without a class");
    push(Kind::object, Nodes{items[0]});
  }
  // The one call that stands for a plain container: OrderedDict(), perhaps of a list of pairs.
  void push_call(Nodes parts) {
    const Node &callee = *parts[0], &arguments = *parts[1];
    Nodes items;
    if (callee.kind == Kind::global && callee.text == "collections.OrderedDict" &&
        arguments.kind == Kind::tuple && arguments.items.size() <= 1 &&
        (arguments.items.empty() || flatten(*arguments.items[0], items)))
      return push(Kind::dict, std::move(items));
    push(Kind::call, std::move(parts));
  }
  // [[key, value], ...]; the items of all are in proportion to the pickle's bytes.
  bool flatten(const Node& list, Nodes& items) {
    if (list.kind != Kind::list || (copied_ += list.items.size()) > bytes_.size()) return false;
    for (const Node* pair : list.items) {
      if (!pair->is_sequence() || pair->items.size() != 2) return false;
      items.insert(items.end(), pair->items.begin(), pair->items.end());
    }
    return true;
  }

  std::span<const std::uint8_t> bytes_;
  std::uint64_t at_ = 0;
  Pickle result_;
  std::vector<Node*> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint32_t, Node*> memo_;
  std::uint64_t copied_ = 0;
  Node *none_ = add({Kind::none}), *false_ = add({Kind::boolean}),
       *true_ = add({Kind::boolean, {}, {}, 1}), *empty_tuple_ = add({Kind::tuple});
};

// All but STOP, under the names of Lib/pickletools.py.
const Unpickler::Opcode Unpickler::kOpcodes[] = {
    // None, truth, numbers
    {'N', [](U& u) { u.push(u.none_); }},                            // NONE
    {0x88, [](U& u) { u.push(u.true_); }},                           // NEWTRUE
    {0x89, [](U& u) { u.push(u.false_); }},                          // NEWFALSE
    {'I', [](U& u) { u.push_line_integer(); }},                      // INT
    {'L', [](U& u) { u.push_line_long(); }},                         // LONG
    {'J', [](U& u) { u.push_integer(u.number<std::int32_t>()); }},   // BININT
    {'K', [](U& u) { u.push_integer(u.number<std::uint8_t>()); }},   // BININT1
    {'M', [](U& u) { u.push_integer(u.number<std::uint16_t>()); }},  // BININT2
    {0x8a, [](U& u) { u.push_long(u.string<std::uint8_t>()); }},     // LONG1
    {0x8b, [](U& u) { u.push_long(u.string<std::int32_t>()); }},     // LONG4
    {'F', [](U& u) { u.push_real(u.parse<double>(u.line())); }},     // FLOAT
    {'G', [](U& u) { u.push_real(u.big_endian()); }},                // BINFLOAT
    // texts (BINSTRING and SHORT_BINSTRING are Python 2's), bytes
    {'V', [](U& u) { u.push(Kind::text, u.line()); }},                     // UNICODE
    {'X', [](U& u) { u.push(Kind::text, u.string<std::uint32_t>()); }},    // BINUNICODE
    {0x8c, [](U& u) { u.push(Kind::text, u.string<std::uint8_t>()); }},    // SHORT_BINUNICODE
    {0x8d, [](U& u) { u.push(Kind::text, u.string<std::uint64_t>()); }},   // BINUNICODE8
    {'T', [](U& u) { u.push(Kind::text, u.string<std::int32_t>()); }},     // BINSTRING
    {'U', [](U& u) { u.push(Kind::text, u.string<std::uint8_t>()); }},     // SHORT_BINSTRING
    {'B', [](U& u) { u.push(Kind::bytes, u.string<std::uint32_t>()); }},   // BINBYTES
    {'C', [](U& u) { u.push(Kind::bytes, u.string<std::uint8_t>()); }},    // SHORT_BINBYTES
    {0x8e, [](U& u) { u.push(Kind::bytes, u.string<std::uint64_t>()); }},  // BINBYTES8
    {0x96, [](U& u) { u.push(Kind::bytes, u.string<std::uint64_t>()); }},  // BYTEARRAY8
    // containers
    {')', [](U& u) { u.push(u.empty_tuple_); }},                // EMPTY_TUPLE
    {'t', [](U& u) { u.push(Kind::tuple, u.pop_to_mark()); }},  // TUPLE
    {0x85, [](U& u) { u.push(Kind::tuple, u.pop_some(1)); }},   // TUPLE1
    {0x86, [](U& u) { u.push(Kind::tuple, u.pop_some(2)); }},   // TUPLE2
    {0x87, [](U& u) { u.push(Kind::tuple, u.pop_some(3)); }},   // TUPLE3
    {']', [](U& u) { u.push(Kind::list, Nodes()); }},           // EMPTY_LIST
    {'l', [](U& u) { u.push(Kind::list, u.pop_to_mark()); }},   // LIST
    {0x8f, [](U& u) { u.push(Kind::set, Nodes()); }},           // EMPTY_SET
    {0x91, [](U& u) { u.push(Kind::set, u.pop_to_mark()); }},   // FROZENSET
    {'}', [](U& u) { u.push(Kind::dict, Nodes()); }},           // EMPTY_DICT
    {'d', [](U& u) { u.push_dict(u.pop_to_mark()); }},          // DICT
    {'a', [](U& u) { u.extend(false, u.pop_some(1)); }},        // APPEND
    {'e', [](U& u) { u.extend(false, u.pop_to_mark()); }},      // APPENDS
    {0x90, [](U& u) { u.extend(false, u.pop_to_mark()); }},     // ADDITEMS
    {'s', [](U& u) { u.extend(true, u.pop_some(2)); }},         // SETITEM
    {'u', [](U& u) { u.extend(true, u.pop_to_mark()); }},       // SETITEMS
    // the stack and the memo
    {0x80, [](U& u) { u.check_protocol(); }},                                  // PROTO
    {0x95, [](U& u) { u.check_frame(); }},                                     // FRAME
    {'(', [](U& u) { u.marks_.push_back(u.stack_.size()); }},                  // MARK
    {'0', [](U& u) { u.pop_or_unmark(); }},                                    // POP
    {'1', [](U& u) { u.pop_to_mark(); }},                                      // POP_MARK
    {'2', [](U& u) { u.push(u.top()); }},                                      // DUP
    {'p', [](U& u) { u.memo_[u.parse<std::uint32_t>(u.line())] = u.top(); }},  // PUT
    {'q', [](U& u) { u.memo_[u.number<std::uint8_t>()] = u.top(); }},          // BINPUT
    {'r', [](U& u) { u.memo_[u.number<std::uint32_t>()] = u.top(); }},         // LONG_BINPUT
    {0x94, [](U& u) { u.memo_[u.memo_next()] = u.top(); }},                    // MEMOIZE
    {'g', [](U& u) { u.get(u.parse<std::uint32_t>(u.line())); }},              // GET
    {'h', [](U& u) { u.get(u.number<std::uint8_t>()); }},                      // BINGET
    {'j', [](U& u) { u.get(u.number<std::uint32_t>()); }},                     // LONG_BINGET
    // names, calls and objects
    {'c', [](U& u) { u.push(Kind::global, u.name()); }},           // GLOBAL
    {0x93, [](U& u) { u.push_stack_global(); }},                   // STACK_GLOBAL
    {'Q', [](U& u) { u.push(Kind::persistent, u.pop_some(1)); }},  // BINPERSID
    {'R', [](U& u) { u.push_call(u.pop_some(2)); }},               // REDUCE
    {'b', [](U& u) { u.pop(), u.top(); }},  // BUILD: attributes of an object, no weights
    {0x81, [](U& u) { u.push_object(u.pop_some(2)); }},    // NEWOBJ
    {0x92, [](U& u) { u.push_object(u.pop_some(3)); }},    // NEWOBJ_EX
    {'i', [](U& u) { u.push_instance(); }},                // INST
    {'o', [](U& u) { u.push_object(u.pop_to_mark()); }}};  // OBJ

Pickle Unpickler::run() {
  static const auto table = [] {
    std::array<void (*)(Unpickler&), 256> runs{};
    for (const Opcode& opcode : kOpcodes) runs[opcode.code] = opcode.run;
    return runs;
  }();
  for (;;) {
    const auto code = number<std::uint8_t>();
    if (code == '.') break;  // STOP
    if (table[code] == nullptr)
      damaged(fmt::format("opcode {:#04x} is not one of a state dict's", code));
    table[code](*this);
  }
  result_.root = pop();
  result_.bytes = at_;
  return std::move(result_);
}

}  // namespace

Pickle parse_pickle(std::span<const std::uint8_t> bytes) {
  return Unpickler(bytes).run();
}

std::vector<std::pair<const Node*, const Node*>> Pickle::Node::pairs() const {
  std::vector<std::pair<const Node*, const Node*>> pairs;
  for (std::size_t i = 0; i + 1 < items.size(); i += 2) pairs.emplace_back(items[i], items[i + 1]);
  return pairs;
}

const Node* Pickle::Node::find(std::string_view key) const {
  const Node* found = nullptr;
  for (const auto& [name, value] : pairs())
    if (name->kind == Kind::text && name->text == key) found = value;
  return found;
}

}  // namespace nextgrad
