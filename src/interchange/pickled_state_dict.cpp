#include "interchange/pickled_state_dict.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <unordered_map>
#include <utility>

#include "facet/error.h"
#include "interchange/safetensors_header.h"

namespace facet::interchange {
namespace {

constexpr std::size_t max_rank = 32;
constexpr std::size_t max_key = 64;  // of a storage, by which many tensors may be
/// A model of a thousand tensors makes some 30,000.
constexpr std::size_t max_values = 2'000'000;

struct NamedStorage {
  std::string_view name;
  StorageType type;
  std::size_t size;
};
constexpr std::array<NamedStorage, 5> storage_types{{{"torch.FloatStorage", StorageType::f32, 4},
                                                     {"torch.DoubleStorage", StorageType::f64, 8},
                                                     {"torch.HalfStorage", StorageType::f16, 2},
                                                     {"torch.BFloat16Storage", StorageType::bf16, 2},
                                                     {"torch.LongStorage", StorageType::s64, 8}}};

constexpr std::string_view ordered_dict = "collections.OrderedDict";
constexpr std::string_view rebuild_tensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view rebuild_parameter = "torch._utils._rebuild_parameter";

/// The pickle machine's instructions that plain data need (Python's pickletools lists all).
enum class Opcode : std::uint8_t {
  mark = '(',
  stop = '.',
  binfloat = 'G',
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
  tuple1 = 0x85,
  tuple2 = 0x86,
  tuple3 = 0x87,
  newtrue = 0x88,
  newfalse = 0x89,
  long1 = 0x8a,
  short_binunicode = 0x8c,
  binunicode8 = 0x8d,
  stack_global = 0x93,
  memoize = 0x94,
  frame = 0x95
};

enum class Kind : std::uint8_t { none, truth, integer, number, text, list, tuple, dictionary, global, storage, tensor };

std::string_view to_string(Kind kind) {
  constexpr std::array<std::string_view, 11> names{"None",   "a truth value", "an integer", "a number",
                                                   "a text", "a list",        "a tuple",    "a dictionary",
                                                   "a name", "a storage",     "a tensor"};
  return names[static_cast<std::size_t>(kind)];
}

/// What a pickle makes. Others are named by their numbers: they may be nested however deeply, or hold themselves.
struct Value {
  Kind kind = Kind::none;
  std::int64_t integer = 0;     ///< an integer or truth value; the number of a storage or tensor
  std::string text = {};        ///< a text, or the dotted name of a global
  std::vector<int> items = {};  ///< of a list or tuple; of a dictionary key, value, key, ...
};

/// Runs a pickle over values of the kinds above.
class Machine {
 public:
  Machine(const std::string& file, std::span<const std::byte> pickle)
      : file_(file), rest_(pickle), bytes_(pickle.size()) {}

  std::vector<PickledTensor> run() {
    while (true) {
      const auto opcode = static_cast<Opcode>(take_number<std::uint8_t>());
      if (opcode == Opcode::stop) return state_dict(values_[pop()]);
      execute(opcode);
    }
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw Error(fmt::format("{}: {}", file_, what)); }
  [[noreturn]] void fail_malformed(const std::string& what) const {
    fail(fmt::format("its pickle is malformed before byte {}: {}", bytes_ - rest_.size(), what));
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

  // --- the stack -----------------------------------------------------------------------------------------------------

  int add(Value value) {
    if (values_.size() >= max_values) fail(fmt::format("its pickle makes more than {} values", max_values));
    values_.push_back(std::move(value));
    return static_cast<int>(values_.size()) - 1;
  }
  void push(Value value) { stack_.push_back(add(std::move(value))); }

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
    require(value, kind);
    return value;
  }
  std::vector<int> pop_to_mark() {
    if (marks_.empty()) fail_malformed("a mark is missing");
    std::vector<int> popped(stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return popped;
  }
  void push_tuple(std::size_t count) {
    std::vector<int> items(count);
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    push({.kind = Kind::tuple, .items = std::move(items)});
  }

  void require(int value, Kind kind) const {
    if (values_[value].kind == kind) return;
    fail_malformed(fmt::format("{} where {} belongs", to_string(values_[value].kind), to_string(kind)));
  }

  void append(int list, const std::vector<int>& items) {
    require(list, Kind::list);
    values_[list].items.insert(values_[list].items.end(), items.begin(), items.end());
  }
  void set_items(int dictionary, const std::vector<int>& items) {
    require(dictionary, Kind::dictionary);
    if (items.size() % 2 != 0) fail_malformed("a key without a value");
    values_[dictionary].items.insert(values_[dictionary].items.end(), items.begin(), items.end());
  }

  void remember(std::uint32_t key) { memo_[key] = top(); }
  void recall(std::uint32_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) fail_malformed("a value that it never made");
    stack_.push_back(found->second);
  }

  // --- what it may name ----------------------------------------------------------------------------------------------

  void push_global(std::string name) {
    const bool is_storage = std::any_of(storage_types.begin(), storage_types.end(),
                                        [&](const NamedStorage& storage) { return storage.name == name; });
    if (!is_storage && name != ordered_dict && name != rebuild_tensor && name != rebuild_parameter) {
      const bool other_storage = name.starts_with("torch.") && name.ends_with("Storage");
      fail(
          other_storage
              ? fmt::format("its pickle has elements of {}; Float-, Double-, Half-, BFloat16- and LongStorage are read",
                            in_quotes(name))
              : fmt::format("its pickle names {}; only tensors in plain dictionaries are read, and no code is ever "
                            "run: save a model's state_dict()",
                            in_quotes(name)));
    }
    push({.kind = Kind::global, .text = std::move(name)});
  }

  /// ('storage', its type, its key, the device, its elements)
  void push_storage() {
    const std::vector<int>& id = values_[pop(Kind::tuple)].items;
    if (id.size() != 5) fail_malformed("a storage isn't described by five values");
    constexpr std::array<Kind, 5> kinds{Kind::text, Kind::global, Kind::text, Kind::text, Kind::integer};
    for (std::size_t i = 0; i < kinds.size(); ++i) require(id[i], kinds[i]);
    const auto type = std::find_if(storage_types.begin(), storage_types.end(),
                                   [&](const NamedStorage& storage) { return storage.name == values_[id[1]].text; });
    if (values_[id[0]].text != "storage" || type == storage_types.end() || values_[id[2]].text.size() > max_key ||
        values_[id[4]].integer < 0) {
      fail_malformed("a storage that can't be");
    }
    storages_.push_back(
        {.storage = values_[id[2]].text, .type = type->type, .storage_elements = values_[id[4]].integer});
    push({.kind = Kind::storage, .integer = static_cast<std::int64_t>(storages_.size()) - 1});
  }

  void call() {
    const std::vector<int> arguments = values_[pop(Kind::tuple)].items;
    const std::string name = values_[pop(Kind::global)].text;
    if (name == ordered_dict && arguments.empty()) {
      push({.kind = Kind::dictionary});
    } else if (name == rebuild_tensor && (arguments.size() == 6 || arguments.size() == 7)) {
      push_tensor(arguments);
    } else if (name == rebuild_parameter && arguments.size() == 3) {
      require(arguments[0], Kind::tensor);
      stack_.push_back(arguments[0]);
    } else {
      fail_malformed(fmt::format("{} with {} arguments", in_quotes(name), arguments.size()));
    }
  }

  /// (storage, offset, size, stride, requires_grad, hooks, metadata)
  void push_tensor(const std::vector<int>& arguments) {
    require(arguments[0], Kind::storage);
    require(arguments[1], Kind::integer);
    if (arguments.size() > 6) {
      const Value& metadata = values_[arguments[6]];
      if (metadata.kind != Kind::none && !metadata.items.empty()) {
        fail("its pickle has a tensor whose values are negated or conjugated when read; save its clone()");
      }
    }
    PickledTensor tensor = storages_[static_cast<std::size_t>(values_[arguments[0]].integer)];
    tensor.offset = values_[arguments[1]].integer;
    tensor.shape = whole_numbers(arguments[2]);
    tensor.strides = whole_numbers(arguments[3]);
    require_within_storage(tensor);
    tensors_.push_back(std::move(tensor));
    push({.kind = Kind::tensor, .integer = static_cast<std::int64_t>(tensors_.size()) - 1});
  }

  std::vector<std::int64_t> whole_numbers(int tuple) const {
    require(tuple, Kind::tuple);
    if (values_[tuple].items.size() > max_rank) {
      fail_malformed(fmt::format("a tensor of {} extents", values_[tuple].items.size()));
    }
    std::vector<std::int64_t> numbers;
    for (const int item : values_[tuple].items) {
      require(item, Kind::integer);
      if (values_[item].integer < 0) fail_malformed(fmt::format("{} where 0 or more belongs", values_[item].integer));
      numbers.push_back(values_[item].integer);
    }
    return numbers;
  }

  void require_within_storage(const PickledTensor& tensor) const {
    if (tensor.shape.size() != tensor.strides.size()) {
      fail_malformed(fmt::format("a tensor of {} extents and {} strides", tensor.shape.size(), tensor.strides.size()));
    }
    std::int64_t count = 1, last = tensor.offset;
    bool fits = tensor.offset >= 0;
    for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
      std::int64_t reach = 0;
      fits = fits && !__builtin_mul_overflow(count, tensor.shape[i], &count) &&
             !__builtin_mul_overflow(std::max<std::int64_t>(tensor.shape[i] - 1, 0), tensor.strides[i], &reach) &&
             !__builtin_add_overflow(last, reach, &last);
    }
    if (fits && (count == 0 || last < tensor.storage_elements)) return;
    fail_malformed(fmt::format("a tensor of shape {} leaves its storage of {} elements", facet::to_string(tensor.shape),
                               tensor.storage_elements));
  }

  // --- the program ---------------------------------------------------------------------------------------------------

  void execute(Opcode opcode) {
    switch (opcode) {
      case Opcode::proto:
        if (const auto version = take_number<std::uint8_t>(); version < 2 || version > 5) {
          fail(fmt::format("its pickle is of protocol {}; 2 to 5 are read", version));
        }
        return;
      case Opcode::frame:
        take(8);
        return;
      case Opcode::none:
        return push({});
      case Opcode::newtrue:
      case Opcode::newfalse:
        return push({.kind = Kind::truth});
      case Opcode::binint:
        return push({.kind = Kind::integer, .integer = take_number<std::int32_t>()});
      case Opcode::binint1:
        return push({.kind = Kind::integer, .integer = take_number<std::uint8_t>()});
      case Opcode::binint2:
        return push({.kind = Kind::integer, .integer = take_number<std::uint16_t>()});
      case Opcode::long1:
        return push({.kind = Kind::integer, .integer = take_long()});
      case Opcode::binfloat:
        take(8);
        return push({.kind = Kind::number});
      case Opcode::short_binstring:
      case Opcode::short_binunicode:
        return push({.kind = Kind::text, .text = take_text(take_number<std::uint8_t>())});
      case Opcode::binstring:
      case Opcode::binunicode:
        return push({.kind = Kind::text, .text = take_text(take_number<std::uint32_t>())});
      case Opcode::binunicode8:
        return push({.kind = Kind::text, .text = take_text(take_number<std::uint64_t>())});
      case Opcode::empty_list:
        return push({.kind = Kind::list});
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
        return marks_.push_back(stack_.size());
      case Opcode::tuple:
        return push({.kind = Kind::tuple, .items = pop_to_mark()});
      case Opcode::append: {
        const int item = pop();
        return append(top(), {item});
      }
      case Opcode::appends: {
        const std::vector<int> items = pop_to_mark();
        return append(top(), items);
      }
      case Opcode::setitem: {
        const int value = pop();
        const int key = pop();
        return set_items(top(), {key, value});
      }
      case Opcode::setitems: {
        const std::vector<int> items = pop_to_mark();
        return set_items(top(), items);
      }
      case Opcode::build:  // the attributes of a dictionary: PyTorch's _metadata, the versions of layers
        pop();
        return require(top(), Kind::dictionary);
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
      case Opcode::global: {
        const std::string module = take_line();
        return push_global(module + "." + take_line());
      }
      case Opcode::stack_global: {
        const std::string name = values_[pop(Kind::text)].text;
        return push_global(values_[pop(Kind::text)].text + "." + name);
      }
      case Opcode::binpersid:
        return push_storage();
      case Opcode::reduce:
        return call();
      default:
        fail(fmt::format("its pickle has the instruction 0x{:02x}, which no plain state_dict needs",
                         static_cast<unsigned>(opcode)));
    }
  }

  std::int64_t take_long() {
    const auto count = take_number<std::uint8_t>();
    const auto bytes = take(count);
    if (count > sizeof(std::int64_t)) fail_malformed("an integer of more than 64 bits");
    std::int64_t value = count > 0 && static_cast<std::int8_t>(bytes.back()) < 0 ? -1 : 0;
    std::memcpy(&value, bytes.data(), count);
    return value;
  }

  std::vector<PickledTensor> state_dict(const Value& root) const {
    if (root.kind != Kind::dictionary) {
      fail(fmt::format("holds {}, not a state_dict, a dictionary of tensors", to_string(root.kind)));
    }
    std::vector<PickledTensor> found;
    std::set<std::string_view> names;
    for (std::size_t i = 0; i < root.items.size(); i += 2) {
      const Value& key = values_[root.items[i]];
      const Value& value = values_[root.items[i + 1]];
      if (key.kind != Kind::text) fail(fmt::format("its dictionary has {} for a key, not a text", to_string(key.kind)));
      if (value.kind != Kind::tensor) {
        fail(fmt::format(
            "{} in its dictionary is {}, not a tensor: only a plain state_dict is read{}", in_quotes(key.text),
            to_string(value.kind),
            value.kind == Kind::dictionary ? fmt::format("; save checkpoint[{}] alone", in_quotes(key.text)) : ""));
      }
      if (!names.insert(key.text).second) fail(fmt::format("its dictionary has {} twice", in_quotes(key.text)));
      found.push_back(tensors_[static_cast<std::size_t>(value.integer)]);
      found.back().name = key.text;
    }
    return found;
  }

  const std::string& file_;
  std::span<const std::byte> rest_;
  std::size_t bytes_;
  std::vector<Value> values_;
  std::vector<int> stack_;
  std::vector<std::size_t> marks_;  ///< sizes of the stack
  std::unordered_map<std::uint32_t, int> memo_;
  std::vector<PickledTensor> storages_;  ///< what of a tensor its storage decides
  std::vector<PickledTensor> tensors_;
};

}  // namespace

std::size_t size_of(StorageType type) {
  return std::find_if(storage_types.begin(), storage_types.end(),
                      [type](const NamedStorage& storage) { return storage.type == type; })
      ->size;
}

std::int64_t PickledTensor::extent() const {
  std::int64_t last = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return 0;
    last += (shape[i] - 1) * strides[i];
  }
  return last + 1;
}

std::vector<PickledTensor> read_state_dict(const std::string& file, std::span<const std::byte> pickle) {
  return Machine(file, pickle).run();
}

}  // namespace facet::interchange
