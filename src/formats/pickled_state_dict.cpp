#include "formats/pickled_state_dict.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "facet/error.h"
#include "formats/safetensors_header.h"

namespace facet::formats {
namespace {

using Kind = PickleValue::Kind;

constexpr std::size_t max_rank = 32;
constexpr std::size_t max_key = 64;  // bytes of a storage's key, of which each tensor holds a copy
/// Maximum depth of nesting. A pickle may describe endless nesting; PyTorch's are nested a few levels deep.
constexpr int max_depth = 16;

struct NamedStorage {
  std::string_view name;
  StorageType type;
  std::size_t size;
};
constexpr std::array<NamedStorage, 20> storage_types{{{"torch.FloatStorage", StorageType::f32, 4},
                                                      {"torch.DoubleStorage", StorageType::f64, 8},
                                                      {"torch.HalfStorage", StorageType::f16, 2},
                                                      {"torch.BFloat16Storage", StorageType::bf16, 2},
                                                      {"torch.LongStorage", StorageType::s64, 8},
                                                      {"torch.IntStorage", StorageType::other, 4},
                                                      {"torch.ShortStorage", StorageType::other, 2},
                                                      {"torch.CharStorage", StorageType::other, 1},
                                                      {"torch.ByteStorage", StorageType::other, 1},
                                                      {"torch.BoolStorage", StorageType::other, 1},
                                                      {"torch.ComplexFloatStorage", StorageType::other, 8},
                                                      {"torch.ComplexDoubleStorage", StorageType::other, 16},
                                                      {"torch.QInt8Storage", StorageType::other, 1},
                                                      {"torch.QUInt8Storage", StorageType::other, 1},
                                                      {"torch.QInt32Storage", StorageType::other, 4},
                                                      {"torch.QUInt4x2Storage", StorageType::other, 1},
                                                      {"torch.QUInt2x4Storage", StorageType::other, 1},
                                                      {"torch.UntypedStorage", StorageType::other, 1},
                                                      {"torch.storage.UntypedStorage", StorageType::other, 1},
                                                      {"torch.storage._UntypedStorage", StorageType::other, 1}}};

/// The keys under which checkpoints keep a model's state_dict; the first key that is present counts. Averaged weights
/// come last, as in timm with use_ema=False.
constexpr std::array<std::string_view, 5> state_dict_keys{"state_dict", "model", "model_state_dict", "state_dict_ema",
                                                          "model_ema"};

constexpr std::string_view ordered_dict = "collections.OrderedDict";
constexpr std::string_view default_dict = "collections.defaultdict";
constexpr std::string_view tensor_size = "torch.Size";
constexpr std::string_view rebuild_from_type = "torch._tensor._rebuild_from_type_v2";  ///< a tensor with attributes
constexpr std::array<std::string_view, 2> rebuild_tensor{"torch._utils._rebuild_tensor_v2",
                                                         "torch._utils._rebuild_tensor"};
/// Functions and classes whose first argument is a tensor.
constexpr std::array<std::string_view, 5> parameters{
    "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state", "torch.nn.parameter.Parameter",
    "torch.nn.parameter.Buffer", "torch.autograd.variable.Variable"};

template <std::size_t count>
bool contains(const std::array<std::string_view, count>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// A storage that a persistent ID describes, and the range of its elements that a tensor may use.
struct StoragePart {
  PickledStorage storage;
  std::int64_t begin = 0, end = 0;
};

/// Interprets the values of a pickle as PyTorch does.
class Reader {
 public:
  Reader(const std::string& file, const Pickle& pickle) : file_(file), pickle_(pickle) {}

  PickledStateDict state_dict() const {
    const int value = pickle_.root;
    if (!is_dictionary(value)) {
      fail(fmt::format("the file holds {}; a state_dict (a dictionary of tensors by name) is needed{}",
                       described(value), advice(value)));
    }
    PickledStateDict found;
    Items items = items_of(value);
    for (int depth = 0; depth < max_depth; ++depth) {
      const auto [key, nested] = nested_state_dict(items);
      if (key.empty()) break;
      found.path += fmt::format("[\"{}\"]", key);
      items = items_of(nested);
    }
    found.tensors = tensors(items);
    return found;
  }

  std::vector<PickledStorage> storages() const {
    std::vector<PickledStorage> found;
    std::map<std::string, std::size_t> by_key;
    for (const PickleValue& value : pickle_.values) {
      if (value.kind != Kind::persistent || !is_storage(value.arguments)) continue;
      PickledStorage storage = storage_of(value.arguments).storage;
      if (storage.element_size == 0) {
        fail(fmt::format("its storage {} has elements of the unknown type {}", in_quotes(storage.key),
                         in_quotes(type_name(value.arguments))));
      }
      const auto [place, is_new] = by_key.emplace(storage.key, found.size());
      if (is_new) {
        found.push_back(std::move(storage));
      } else if (found[place->second].element_size != storage.element_size ||
                 found[place->second].elements != storage.elements) {
        fail(fmt::format("its pickle describes the storage {} in two ways", in_quotes(storage.key)));
      }
    }
    return found;
  }

 private:
  using Items = std::vector<std::pair<int, int>>;  ///< keys and values

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("{}: {}", file_, what), ErrorCode::invalid_data);
  }

  const PickleValue& at(int value) const { return pickle_.values[static_cast<std::size_t>(value)]; }
  const std::vector<int>& arguments(const PickleValue& call) const { return at(call.arguments).items; }

  // --- objects and dictionaries --------------------------------------------------------------------------------------

  /// Returns the name of a function or class; "" for other values. Before PyTorch 1.6, a persistent ID holds the class
  /// of a module together with its source code.
  std::string_view name_of(int value) const {
    if (at(value).kind == Kind::global) return at(value).text;
    if (at(value).kind != Kind::persistent) return "";
    const std::vector<int>& id = at(at(value).arguments).items;
    return id.size() >= 2 && at(id[0]).text == "module" && at(id[1]).kind == Kind::global
               ? std::string_view(at(id[1]).text)
               : "";
  }

  std::string described(int value) const {
    if (at(value).kind == Kind::global) return fmt::format("the name {}", in_quotes(at(value).text));
    if (at(value).kind != Kind::call) return std::string(to_string(at(value).kind));
    const std::string_view function = name_of(at(value).function);
    return function.empty() ? "an object" : fmt::format("an object of {}", in_quotes(function));
  }

  std::string advice(int value) const {
    if (at(value).kind != Kind::call && at(value).kind != Kind::global) return "";
    return "; no pickled code is ever run: save a model's weights with torch.save(model.state_dict(), FILE)";
  }

  /// Whether a value is a dict, an OrderedDict or a defaultdict.
  bool is_dictionary(int value) const {
    if (at(value).kind != Kind::call) return at(value).kind == Kind::dictionary;
    const std::string_view function = name_of(at(value).function);
    return function == ordered_dict || function == default_dict;
  }

  Items items_of(int dictionary) const {
    const PickleValue& found = at(dictionary);
    Items items;
    if (found.kind == Kind::call && name_of(found.function) == ordered_dict && arguments(found).size() == 1) {
      const PickleValue& given = at(arguments(found)[0]);  // Python 2: a list of pairs
      if (given.kind != Kind::list) fail("its pickle has an OrderedDict that isn't made of pairs of a key and a value");
      for (const int pair : given.items) {
        if (at(pair).items.size() != 2)
          fail("its pickle has an OrderedDict that isn't made of pairs of a key and a value");
        items.emplace_back(at(pair).items[0], at(pair).items[1]);
      }
    }
    for (std::size_t i = 0; i + 1 < found.items.size(); i += 2) items.emplace_back(found.items[i], found.items[i + 1]);
    return items;
  }

  /// Returns the key and the dictionary of the state_dict in a checkpoint; the key is "" if there is none.
  std::pair<std::string_view, int> nested_state_dict(const Items& items) const {
    for (const std::string_view key : state_dict_keys) {
      for (const auto& [name, value] : items) {
        if (at(name).kind == Kind::text && at(name).text == key && is_dictionary(value)) return {key, value};
      }
    }
    return {"", -1};
  }

  std::vector<PickledTensor> tensors(const Items& items) const {
    if (items.size() > max_tensors) {
      fail(fmt::format("its dictionary has {} keys; at most {} tensors are read", items.size(), max_tensors));
    }
    std::vector<PickledTensor> found;
    std::set<std::string_view> names;
    for (const auto& [key, value] : items) {
      const std::string& name = at(key).text;
      if (at(key).kind != Kind::text) {
        fail(fmt::format("its dictionary has {} as a key; a string is needed", described(key)));
      }
      std::optional<PickledTensor> tensor = tensor_of(name, value);
      if (!tensor) {
        fail(fmt::format(
            "{} in its dictionary is {}; a tensor is needed{}", in_quotes(name), described(value),
            is_dictionary(value) ? fmt::format(": save only checkpoint[{}]", in_quotes(name)) : advice(value)));
      }
      if (!names.insert(name).second) fail(fmt::format("its dictionary has {} twice", in_quotes(name)));
      found.push_back(*std::move(tensor));
    }
    return found;
  }

  // --- tensors -------------------------------------------------------------------------------------------------------

  /// Returns the tensor that a value describes; nullopt if the value isn't a tensor that PyTorch makes of a storage.
  std::optional<PickledTensor> tensor_of(const std::string& name, int value) const {
    for (int depth = 0; depth < max_depth && at(value).kind == Kind::call; ++depth) {
      std::string_view function = name_of(at(value).function);
      std::span<const int> given = arguments(at(value)), state;
      if (at(value).state >= 0) state = at(at(value).state).items;
      if (function == rebuild_from_type && given.size() >= 3) {  // (function, type, arguments, state)
        function = name_of(given[0]);
        given = at(given[2]).items;
      }
      if (contains(rebuild_tensor, function)) return make_tensor(name, given);
      if (is_tensor_class(function) && given.empty() && state.size() == 4) return make_tensor(name, state);
      if (!contains(parameters, function)) return {};
      if (given.empty() && state.size() != 5) return {};
      value = given.empty() ? state[0] : given[0];  // PyTorch 0.1 has a state: (tensor, gradient, hooks, ...)
    }
    return {};
  }

  /// PyTorch's first releases pickled a tensor as an object of its class.
  static bool is_tensor_class(std::string_view name) { return name.starts_with("torch.") && name.ends_with("Tensor"); }

  /// @param given (storage, offset, size, stride[, requires_grad, hooks[, metadata]])
  PickledTensor make_tensor(const std::string& name, std::span<const int> given) const {
    if (given.size() < 4) fail_tensor(name, fmt::format("is made of {} values", given.size()));
    if (at(given[0]).kind != Kind::persistent || !is_storage(at(given[0]).arguments)) {
      fail_tensor(name, fmt::format("is stored in {}; a storage is needed", described(given[0])));
    }
    if (given.size() > 6 && at(given[6]).kind != Kind::none && !at(given[6]).items.empty()) {
      fail_tensor(name, "is a negated or conjugated view; save tensor.clone() instead");
    }
    StoragePart part = storage_of(at(given[0]).arguments);
    if (part.storage.type == StorageType::other) {
      fail_tensor(name,
                  fmt::format("has elements of {}; Float-, Double-, Half-, BFloat16- and LongStorage are supported",
                              in_quotes(type_name(at(given[0]).arguments))));
    }
    PickledTensor tensor{.name = name, .storage = std::move(part.storage)};
    if (at(given[1]).kind != Kind::integer)
      fail_tensor(name, fmt::format("has {} as its offset; an integer is needed", described(given[1])));
    tensor.offset = at(given[1]).integer;
    tensor.shape = whole_numbers(name, given[2]);
    tensor.strides = whole_numbers(name, given[3]);
    require_within(tensor, part.end - part.begin);
    tensor.offset = tensor.extent() == 0 ? 0 : tensor.offset + part.begin;
    return tensor;
  }

  [[noreturn]] void fail_tensor(const std::string& name, const std::string& what) const {
    fail(fmt::format("tensor {} {}", in_quotes(name), what));
  }

  std::vector<std::int64_t> whole_numbers(const std::string& name, int value) const {
    if (at(value).kind == Kind::call && name_of(at(value).function) == tensor_size &&
        arguments(at(value)).size() == 1) {
      value = arguments(at(value))[0];
    }
    if (at(value).kind != Kind::tuple && at(value).kind != Kind::list) {
      fail_tensor(name, fmt::format("has {} as its shape or strides; a tuple of integers is needed", described(value)));
    }
    if (at(value).items.size() > max_rank)
      fail_tensor(name, fmt::format("has {} extents; at most {} are allowed", at(value).items.size(), max_rank));
    std::vector<std::int64_t> numbers;
    for (const int item : at(value).items) {
      if (at(item).kind != Kind::integer || at(item).integer < 0) {
        fail_tensor(name,
                    fmt::format("has {} as an extent or stride; an integer of at least 0 is needed",
                                at(item).kind == Kind::integer ? std::to_string(at(item).integer) : described(item)));
      }
      numbers.push_back(at(item).integer);
    }
    return numbers;
  }

  void require_within(const PickledTensor& tensor, std::int64_t elements) const {
    if (tensor.shape.size() != tensor.strides.size()) {
      fail_tensor(tensor.name, fmt::format("has {} extents and {} strides; as many of each are needed",
                                           tensor.shape.size(), tensor.strides.size()));
    }
    std::int64_t count = 1, last = tensor.offset;
    bool fits = tensor.offset >= 0;
    for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
      std::int64_t reach = 0;
      fits = fits && !__builtin_mul_overflow(count, tensor.shape[i], &count) &&
             !__builtin_mul_overflow(std::max<std::int64_t>(tensor.shape[i] - 1, 0), tensor.strides[i], &reach) &&
             !__builtin_add_overflow(last, reach, &last);
    }
    if (fits && (count == 0 || last < elements)) return;
    fail_tensor(tensor.name, fmt::format("of shape {} extends beyond its storage of {} elements",
                                         facet::to_string(tensor.shape), elements));
  }

  // --- storages ------------------------------------------------------------------------------------------------------

  bool is_storage(int id) const {
    const PickleValue& found = at(id);
    return found.kind == Kind::tuple && !found.items.empty() && at(found.items[0]).text == "storage";
  }
  const std::string& type_name(int id) const { return at(at(id).items[1]).text; }

  /// @param id ('storage', type, key, device, number of elements[, view, which is None or (key, offset, elements)])
  StoragePart storage_of(int id) const {
    const std::vector<int>& items = at(id).items;
    constexpr std::array<Kind, 5> kinds{Kind::text, Kind::global, Kind::text, Kind::text, Kind::integer};
    const auto refuse = [&] { fail("its pickle has an invalid description of a storage"); };
    if (items.size() < kinds.size() || items.size() > kinds.size() + 1) refuse();
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      if (at(items[i]).kind != kinds[i]) refuse();
    }
    StoragePart part;
    part.storage = {.key = at(items[2]).text, .type = StorageType::other, .elements = at(items[4]).integer};
    if (part.storage.key.size() > max_key || part.storage.elements < 0) refuse();
    for (const NamedStorage& known : storage_types) {
      if (known.name != type_name(id)) continue;
      part.storage.type_name = known.name;
      part.storage.type = known.type;
      part.storage.element_size = known.size;
    }
    part.end = part.storage.elements;
    if (items.size() > kinds.size() && at(items[5]).kind != Kind::none) {
      const std::vector<int>& view = at(items[5]).items;
      if (view.size() != 3) refuse();
      part.begin = at(view[1]).integer;
      const std::int64_t count = at(view[2]).integer;
      if (part.begin < 0 || count < 0 || part.begin > part.end || count > part.end - part.begin) refuse();
      part.end = part.begin + count;
    }
    return part;
  }

  const std::string& file_;
  const Pickle& pickle_;
};

}  // namespace

std::int64_t PickledTensor::extent() const {
  std::int64_t last = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return 0;
    last += (shape[i] - 1) * strides[i];
  }
  return last + 1;
}

PickledStateDict read_state_dict(const std::string& file, const Pickle& pickle) {
  return Reader(file, pickle).state_dict();
}

std::vector<PickledStorage> read_storages(const std::string& file, const Pickle& pickle) {
  return Reader(file, pickle).storages();
}

}  // namespace facet::formats
