#include "formats/pickle.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "facet/error.h"

namespace facet::formats {
namespace {

using Kind = PickleValue::Kind;

/// Limits on what a pickle may create. A state_dict of a thousand tensors creates some 30,000 values.
constexpr std::size_t max_values = 2'000'000;
constexpr std::size_t max_stack = 2'000'000;
constexpr std::size_t max_memo = 2'000'000;
/// The maximum length in bytes of a function's or class's dotted name, since a few bytes of a pickle can join two long
/// texts of the memo.
constexpr std::size_t max_name = 1'000;

/// The instructions that occur in pickles of data and objects (Python's pickletools describes all instructions).
enum class Opcode : std::uint8_t {
  mark = '(',
  stop = '.',
  pop = '0',
  pop_mark = '1',
  dup = '2',
  binbytes = 'B',
  short_binbytes = 'C',
  binfloat = 'G',
  integer_line = 'I',
  binint = 'J',
  binint1 = 'K',
  binint2 = 'M',
  none = 'N',
  binpersid = 'Q',
  reduce = 'R',
  binstring = 'T',
  short_binstring = 'U',
  binunicode = 'X',
  append = 'a',
  build = 'b',
  global = 'c',
  empty_dict = '}',
  appends = 'e',
  binget = 'h',
  long_binget = 'j',
  empty_list = ']',
  binput = 'q',
  long_binput = 'r',
  setitem = 's',
  tuple = 't',
  empty_tuple = ')',
  setitems = 'u',
  proto = 0x80,
  newobj = 0x81,
  tuple1 = 0x85,
  tuple2 = 0x86,
  tuple3 = 0x87,
  newtrue = 0x88,
  newfalse = 0x89,
  long1 = 0x8a,
  long4 = 0x8b,
  short_binunicode = 0x8c,
  binunicode8 = 0x8d,
  binbytes8 = 0x8e,
  empty_set = 0x8f,
  additems = 0x90,
  frozenset = 0x91,
  newobj_ex = 0x92,
  stack_global = 0x93,
  memoize = 0x94,
  frame = 0x95,
  bytearray8 = 0x96
};

class Machine {
 public:
  Machine(const std::string& file, std::span<const std::byte> bytes)
      : file_(file), rest_(bytes), available_(bytes.size()) {}

  Pickle run() {
    while (true) {
      const auto opcode = static_cast<Opcode>(take_number<std::uint8_t>());
      if (opcode == Opcode::stop) break;
      execute(opcode);
    }
    pickle_.root = pop();
    pickle_.size = available_ - rest_.size();
    return std::move(pickle_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("{}: {}", file_, what), ErrorCode::invalid_data);
  }
  [[noreturn]] void fail_malformed(const std::string& what) const {
    fail(fmt::format("its pickle is malformed before byte {}: {}", available_ - rest_.size(), what));
  }

  // --- bytes ---------------------------------------------------------------------------------------------------------

  std::span<const std::byte> take(std::uint64_t count) {
    if (count > rest_.size()) fail_malformed("it is cut off");
    const auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }

  template <class Number>
  Number take_number() {
    Number number;
    std::memcpy(&number, take(sizeof number).data(), sizeof number);
    return number;
  }

  std::string take_text(std::uint64_t count) {
    const auto bytes = take(count);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::string take_line() {
    const auto end = std::find(rest_.begin(), rest_.end(), std::byte{'\n'});
    if (end == rest_.end()) fail_malformed("it is cut off");
    std::string line = take_text(static_cast<std::uint64_t>(end - rest_.begin()));
    take(1);
    return line;
  }

  // --- the stack and the memo ----------------------------------------------------------------------------------------

  void push(int value) {
    if (stack_.size() >= max_stack) fail(fmt::format("its pickle's stack holds more than {} values", max_stack));
    stack_.push_back(value);
  }
  void push(PickleValue value) {
    if (pickle_.values.size() >= max_values) fail(fmt::format("its pickle makes more than {} values", max_values));
    pickle_.values.push_back(std::move(value));
    push(static_cast<int>(pickle_.values.size()) - 1);
  }
  void push_text(Kind kind, std::uint64_t count) { push({.kind = kind, .text = take_text(count)}); }

  PickleValue& at(int value) { return pickle_.values[static_cast<std::size_t>(value)]; }

  int top() const {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) fail_malformed("a value is missing");
    return stack_.back();
  }
  int pop() {
    const int value = top();
    stack_.pop_back();
    return value;
  }
  int pop(Kind kind) {
    const int value = pop();
    if (at(value).kind != kind) fail_kind(value, to_string(kind));
    return value;
  }
  [[noreturn]] void fail_kind(int value, std::string_view wanted) {
    fail_malformed(fmt::format("it has {} where {} is needed", to_string(at(value).kind), wanted));
  }
  std::vector<int> pop_to_mark() {
    if (marks_.empty()) fail_malformed("a mark is missing");
    std::vector<int> popped(stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return popped;
  }
  void push_mark() {
    if (marks_.size() >= max_stack) fail(fmt::format("its pickle's stack holds more than {} marks", max_stack));
    marks_.push_back(stack_.size());
  }
  void push_tuple(std::size_t count) {
    std::vector<int> items(count);
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    push({.kind = Kind::tuple, .items = std::move(items)});
  }

  void remember(std::uint32_t key) {
    if (memo_.size() >= max_memo) fail(fmt::format("its pickle's memo holds more than {} values", max_memo));
    memo_[key] = top();
  }
  void recall(std::uint32_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) fail_malformed("it refers to a value that isn't in the memo");
    push(found->second);
  }

  // --- containers ----------------------------------------------------------------------------------------------------

  /// Adds items to a list or set. Items that are added to an object are ignored, because what its class would do with
  /// them isn't known.
  void add_items(Kind kind, const std::vector<int>& items) {
    const int holder = top();
    if (at(holder).kind == Kind::call) return;
    if (at(holder).kind != kind) fail_kind(holder, to_string(kind));
    at(holder).items.insert(at(holder).items.end(), items.begin(), items.end());
  }

  /// Adds keys and values to a dictionary, or to an object, whose class may be a kind of dictionary.
  void set_items(const std::vector<int>& items) {
    const int holder = top();
    if (at(holder).kind != Kind::dictionary && at(holder).kind != Kind::call) {
      fail_kind(holder, to_string(Kind::dictionary));
    }
    if (items.size() % 2 != 0) fail_malformed("a key has no value");
    at(holder).items.insert(at(holder).items.end(), items.begin(), items.end());
  }

  void build() {
    const int state = pop();
    const int object = top();
    if (at(object).kind == Kind::call) {
      at(object).state = state;
    } else if (at(object).kind != Kind::dictionary) {
      fail_kind(object, "an object");
    }
  }

  void push_global(std::string_view module, std::string_view name) {
    if (module.size() + name.size() > max_name) {
      fail(fmt::format("its pickle has a name of a function or class with {} bytes; at most {} are allowed",
                       module.size() + name.size(), max_name));
    }
    push({.kind = Kind::global, .text = fmt::format("{}.{}", module, name)});
  }

  void push_call() {
    const int arguments = pop(Kind::tuple);
    const int function = pop();
    push({.kind = Kind::call, .function = function, .arguments = arguments});
  }

  // --- the program ---------------------------------------------------------------------------------------------------

  void execute(Opcode opcode) {
    switch (opcode) {
      case Opcode::proto:
        if (const auto version = take_number<std::uint8_t>(); version < 2 || version > 5) {
          fail(fmt::format("its pickle has protocol {}; 2 to 5 are supported", version));
        }
        return;
      case Opcode::frame:
        take(8);
        return;
      case Opcode::none:
        return push(PickleValue{});
      case Opcode::newtrue:
      case Opcode::newfalse:
        return push({.kind = Kind::boolean, .integer = opcode == Opcode::newtrue ? 1 : 0});
      case Opcode::binint:
        return push({.kind = Kind::integer, .integer = take_number<std::int32_t>()});
      case Opcode::binint1:
        return push({.kind = Kind::integer, .integer = take_number<std::uint8_t>()});
      case Opcode::binint2:
        return push({.kind = Kind::integer, .integer = take_number<std::uint16_t>()});
      case Opcode::integer_line:
        return push_decimal();
      case Opcode::long1:
        return push_long(take_number<std::uint8_t>());
      case Opcode::long4:
        return push_long(take_number<std::uint32_t>());
      case Opcode::binfloat:
        take(8);
        return push({.kind = Kind::number});
      case Opcode::short_binstring:
      case Opcode::short_binunicode:
        return push_text(Kind::text, take_number<std::uint8_t>());
      case Opcode::binstring:
      case Opcode::binunicode:
        return push_text(Kind::text, take_number<std::uint32_t>());
      case Opcode::binunicode8:
        return push_text(Kind::text, take_number<std::uint64_t>());
      case Opcode::short_binbytes:
        return push_text(Kind::bytes, take_number<std::uint8_t>());
      case Opcode::binbytes:
        return push_text(Kind::bytes, take_number<std::uint32_t>());
      case Opcode::binbytes8:
      case Opcode::bytearray8:
        return push_text(Kind::bytes, take_number<std::uint64_t>());
      case Opcode::empty_list:
        return push({.kind = Kind::list});
      case Opcode::empty_set:
        return push({.kind = Kind::set});
      case Opcode::empty_dict:
        return push({.kind = Kind::dictionary});
      case Opcode::empty_tuple:
        return push_tuple(0);
      case Opcode::tuple1:
        return push_tuple(1);
      case Opcode::tuple2:
        return push_tuple(2);
      case Opcode::tuple3:
        return push_tuple(3);
      default:
        return execute_on_stack(opcode);
    }
  }

  void execute_on_stack(Opcode opcode) {
    switch (opcode) {
      case Opcode::mark:
        return push_mark();
      case Opcode::pop:
        pop();
        return;
      case Opcode::pop_mark:
        pop_to_mark();
        return;
      case Opcode::dup:
        return push(top());
      case Opcode::tuple:
        return push({.kind = Kind::tuple, .items = pop_to_mark()});
      case Opcode::frozenset:
        return push({.kind = Kind::set, .items = pop_to_mark()});
      case Opcode::append:
        return add_items(Kind::list, {pop()});
      case Opcode::appends:
        return add_items(Kind::list, pop_to_mark());
      case Opcode::additems:
        return add_items(Kind::set, pop_to_mark());
      case Opcode::setitem: {
        const int value = pop();
        const int key = pop();
        return set_items({key, value});
      }
      case Opcode::setitems:
        return set_items(pop_to_mark());
      case Opcode::build:
        return build();
      case Opcode::binput:
        return remember(take_number<std::uint8_t>());
      case Opcode::long_binput:
        return remember(take_number<std::uint32_t>());
      case Opcode::memoize:
        return remember(static_cast<std::uint32_t>(memo_.size()));
      case Opcode::binget:
        return recall(take_number<std::uint8_t>());
      case Opcode::long_binget:
        return recall(take_number<std::uint32_t>());
      default:
        return execute_name(opcode);
    }
  }

  void execute_name(Opcode opcode) {
    switch (opcode) {
      case Opcode::global: {
        const std::string module = take_line();
        return push_global(module, take_line());
      }
      case Opcode::stack_global: {
        const int name = pop(Kind::text);
        return push_global(at(pop(Kind::text)).text, at(name).text);
      }
      case Opcode::reduce:
      case Opcode::newobj:
        return push_call();
      case Opcode::newobj_ex:  // keyword arguments, which come last
        pop();
        return push_call();
      case Opcode::binpersid:
        return push({.kind = Kind::persistent, .arguments = pop()});
      default:
        fail(fmt::format("its pickle has the instruction 0x{:02x}, which torch.save doesn't write",
                         static_cast<unsigned>(opcode)));
    }
  }

  void push_long(std::uint64_t count) {
    const auto bytes = take(count);
    if (count > sizeof(std::int64_t)) {
      return push({.kind = Kind::long_integer, .text = {reinterpret_cast<const char*>(bytes.data()), bytes.size()}});
    }
    std::int64_t value = count > 0 && static_cast<std::int8_t>(bytes.back()) < 0 ? -1 : 0;
    std::memcpy(&value, bytes.data(), count);
    push({.kind = Kind::integer, .integer = value});
  }

  /// Pushes a number in decimal digits. Python 2 writes integers of more than 32 bits like this, and booleans as 00 and
  /// 01.
  void push_decimal() {
    const std::string line = take_line();
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
    if (error != std::errc() || end != line.data() + line.size())
      fail_malformed("an integer isn't a decimal number of 64 bits");
    push({.kind = line == "00" || line == "01" ? Kind::boolean : Kind::integer, .integer = value});
  }

  const std::string& file_;
  std::span<const std::byte> rest_;
  std::size_t available_;
  Pickle pickle_;
  std::vector<int> stack_;
  std::vector<std::size_t> marks_;  ///< the size of the stack at each mark
  std::unordered_map<std::uint32_t, int> memo_;
};

}  // namespace

std::string_view to_string(PickleValue::Kind kind) {
  constexpr std::array<std::string_view, 14> names{
      "None",   "a boolean", "an integer", "a long integer", "a number", "a string",  "bytes",
      "a list", "a tuple",   "a set",      "a dictionary",   "a name",   "an object", "a persistent object"};
  return names[static_cast<std::size_t>(kind)];
}

Pickle read_pickle(const std::string& file, std::span<const std::byte> bytes) { return Machine(file, bytes).run(); }

}  // namespace facet::formats
