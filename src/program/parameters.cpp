#include "facet/parameters.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "base/random.h"
#include "comm/bucket_exchange.h"
#include "facet/error.h"
#include "optim/gradients.h"
#include "program/parameter_store.h"

namespace facet {

namespace {

using onednn::Layout;

/// Parameters begin at cache lines.
constexpr std::size_t alignment = 64 / sizeof(float), bf16_alignment = 64 / sizeof(std::uint16_t);

Layout plain_like(const Layout& layout) { return onednn::plain(onednn::dims_of(layout), onednn::type_of(layout)); }

std::size_t elements_of(const Layout& layout) {
  return layout == Layout() ? sizeof(std::int64_t) / sizeof(float) : layout.get_size() / sizeof(float);
}

std::vector<float> initial_values(const Parameter& parameter, std::uint64_t seed) {
  std::vector<float> values(static_cast<std::size_t>(element_count(parameter.shape)));
  const float value = parameter.initializer.value;
  base::RandomStream random(seed, base::Purpose::initialization, base::hash(parameter.name));
  switch (parameter.initializer.kind) {
    case Initializer::Kind::constant:
      std::ranges::fill(values, value);
      break;
    case Initializer::Kind::uniform:
      std::ranges::generate(values, [&] { return random.uniform(-value, value); });
      break;
    case Initializer::Kind::normal:
      std::ranges::generate(values, [&] { return value * random.normal(); });
      break;
  }
  return values;
}

void require_count(const Parameter& parameter, const std::vector<float>& values) {
  const std::int64_t count = element_count(parameter.shape);
  if (static_cast<std::int64_t>(values.size()) != count) {
    throw Error(fmt::format("parameter '{}': {} values found; its shape {} needs {}", parameter.name, values.size(),
                            to_string(parameter.shape), count));
  }
}

void require_counter(const Parameter& parameter) {
  if (parameter.type != DataType::s64) throw Error(fmt::format("parameter '{}' is not a counter", parameter.name));
}

}  // namespace

Parameters::State::State(std::vector<Parameter> parameters, program::LayoutPlan layouts)
    : list(std::move(parameters)), stored(list.size()), changed(list.size(), 1) {
  std::vector<bool> is_placed(list.size());
  std::size_t end = 0, bf16_end = 0;
  for (const program::LayoutPlan::Entry& entry : layouts.entries) {
    const auto index = static_cast<std::size_t>(entry.parameter);
    if (entry.parameter < 0 || index >= list.size() || is_placed[index]) {
      throw Error(fmt::format("the layout plan places parameter {} of {} twice, or it doesn't exist", entry.parameter,
                              list.size()));
    }
    is_placed[index] = true;
    const std::size_t elements = elements_of(entry.layout);
    stored[index] = {.layout = entry.layout, .offset = end};
    end += (elements + alignment - 1) / alignment * alignment;
    if (list[index].is_trained()) trained_elements = end;
    if (!entry.has_bf16_copy) continue;
    stored[index].bf16_offset = bf16_end;
    stored[index].bf16_layout = onednn::with_type(entry.layout, onednn::Type::bf16);
    bf16_end += (elements + bf16_alignment - 1) / bf16_alignment * bf16_alignment;
  }
  if (const auto missing = std::ranges::find(is_placed, false); missing != is_placed.end()) {
    throw Error(fmt::format("the layout plan lacks parameter '{}'",
                            list[static_cast<std::size_t>(missing - is_placed.begin())].name));
  }
  values = base::PageBuffer(end * sizeof(float));
  bf16 = base::PageBuffer(bf16_end * sizeof(std::uint16_t));
  plan = std::make_shared<const program::LayoutPlan>(std::move(layouts));
}

Parameters::State::State(std::vector<Parameter> parameters, std::uint64_t seed, program::LayoutPlan layouts)
    : State(std::move(parameters), std::move(layouts)) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto index = static_cast<int>(i);
    if (list[i].type == DataType::s64) {
      *counter(index) = static_cast<std::int64_t>(list[i].initializer.value);
    } else {
      write_value(index, initial_values(list[i], seed));
    }
  }
}

void Parameters::State::place(program::LayoutPlan layouts) {
  if (plan.use_count() > 1) throw Error("parameters that a compiled program uses cannot be placed anew");
  if (*plan == layouts) return;
  State placed(list, std::move(layouts));
  placed.generation = generation;
  if (is_shared) placed.share();
  placed.require_slots(slot_names);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto index = static_cast<int>(i);
    if (list[i].type == DataType::s64) {
      *placed.counter(index) = *counter(index);
      placed.touch(index);
      continue;
    }
    placed.write_value(index, read(index, value(index)));
    for (int number = 0; list[i].is_trained() && number < std::ssize(slots); ++number) {
      placed.set_slot(index, number, get_slot(index, number));
    }
  }
  *this = std::move(placed);
}

std::uint16_t* Parameters::State::bf16_copy(int index) const {
  const std::optional<std::size_t> offset = stored[static_cast<std::size_t>(index)].bf16_offset;
  return offset ? reinterpret_cast<std::uint16_t*>(bf16.data()) + *offset : nullptr;
}

void Parameters::State::require_slots(const std::vector<std::string>& names) {
  if (names == slot_names) return;
  if (!slots.empty() && plan.use_count() > 1) {
    throw Error(fmt::format("the slots {} found, which a compiled program uses; {} are requested",
                            fmt::join(slot_names, ", "), fmt::join(names, ", ")));
  }
  slot_names = names;
  slots.clear();
  own_slot_elements = trained_elements;
  const std::size_t bytes = trained_elements * sizeof(float);
  for (std::size_t i = 0; i < names.size(); ++i) {
    slots.push_back(is_shared ? base::PageBuffer::sparse(bytes) : base::PageBuffer(bytes));
  }
}

void Parameters::State::share() {
  if (plan.use_count() > 1) throw Error("parameters that a compiled program uses cannot be placed anew");
  for (base::PageBuffer* const range : {&values, &bf16}) {
    base::PageBuffer shared = base::PageBuffer::shareable(range->size());
    std::copy_n(range->data(), range->size(), shared.data());
    *range = std::move(shared);
  }
  is_shared = true;
}

void Parameters::State::require_gradients() {
  if (gradients.size() > 0) return;
  const std::size_t bytes = trained_elements * sizeof(float);
  gradients = is_shared ? base::PageBuffer::shareable(bytes) : base::PageBuffer(bytes);
}

int Parameters::State::find_not_finite() const {
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto count = static_cast<std::int64_t>(elements_of(stored[i].layout));
    if (list[i].type == DataType::f32 && !optim::all_finite(value(static_cast<int>(i)), count)) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

std::vector<float> Parameters::State::read(int index, const float* elements) const {
  const Layout& layout = stored[static_cast<std::size_t>(index)].layout;
  std::vector<float> plain(static_cast<std::size_t>(element_count(at(index).shape)));
  onednn::copy(layout, elements, plain_like(layout), plain.data());
  return plain;
}

std::size_t Parameters::State::stored_elements(int index) const {
  return elements_of(stored[static_cast<std::size_t>(index)].layout);
}

void Parameters::State::write(int index, const std::vector<float>& elements, float* to) const {
  require_count(at(index), elements);
  const Layout& layout = stored[static_cast<std::size_t>(index)].layout;
  onednn::copy(plain_like(layout), elements.data(), layout, to);
}

void Parameters::State::write_value(int index, const std::vector<float>& elements) {
  const StoredParameter& parameter = stored[static_cast<std::size_t>(index)];
  write(index, elements, value(index));
  if (std::uint16_t* const copy = bf16_copy(index)) {
    onednn::copy(parameter.layout, value(index), parameter.bf16_layout, copy);
  }
  touch(index);
  is_unchecked = true;
}

void Parameters::State::require_slot(int index, int number) const {
  if (at(index).is_trained() && number >= 0 && number < std::ssize(slots)) return;
  throw Error(fmt::format("parameter '{}' has no slot {}", list[static_cast<std::size_t>(index)].name, number));
}

std::vector<float> Parameters::State::get_slot(int index, int number) const {
  require_slot(index, number);
  return read(index, slot(index, number));
}

void Parameters::State::set_slot(int index, int number, const std::vector<float>& elements) {
  require_slot(index, number);
  write(index, elements, slot(index, number));
}

std::size_t Parameters::State::bytes() const {
  return values.size() + gradients.size() + bf16.size() + slots.size() * own_slot_elements * sizeof(float);
}

const Parameter& Parameters::State::at(int index) const {
  if (index < 0 || index >= static_cast<int>(list.size())) {
    throw Error(fmt::format("parameter {} found; there are {}, counted from 0", index, list.size()));
  }
  return list[static_cast<std::size_t>(index)];
}

Parameters::Parameters(const Graph& graph, std::uint64_t seed)
    : Parameters(program::make_parameters(graph, seed, program::plain_layouts(graph.parameters()))) {}
Parameters::Parameters(std::unique_ptr<State> state) : state_(std::move(state)) {}
Parameters::~Parameters() = default;
Parameters::Parameters(Parameters&&) noexcept = default;
Parameters& Parameters::operator=(Parameters&&) noexcept = default;

Parameters program::zero_parameters(const Graph& graph) {
  return Parameters(
      std::make_unique<Parameters::State>(graph.parameters(), program::plain_layouts(graph.parameters())));
}

Parameters program::make_parameters(const Graph& graph, std::uint64_t seed, LayoutPlan plan) {
  return Parameters(std::make_unique<Parameters::State>(graph.parameters(), seed, std::move(plan)));
}

void program::gather_updates(comm::BucketExchange& exchange, Parameters* average) {
  exchange.gather_rounded_values();
  if (average == nullptr) return;
  const Parameters::State& store = average->state();
  exchange.gather({reinterpret_cast<float*>(store.values.data()), store.trained_elements});
}

void program::copy_values(const Parameters& from, Parameters& to) {
  if (from.list().size() != to.list().size()) {
    throw Error(fmt::format("{} parameters found; the graph has {}", from.list().size(), to.list().size()));
  }
  for (std::size_t i = 0; i < from.list().size(); ++i) {
    const auto index = static_cast<int>(i);
    const Parameter &source = from.list()[i], &target = to.list()[i];
    if (source.name != target.name || source.shape != target.shape) {
      throw Error(fmt::format("parameter '{}' of shape {} found; '{}' of shape {} is needed", source.name,
                              to_string(source.shape), target.name, to_string(target.shape)));
    }
    if (source.type == DataType::s64) {
      to.set_counter(index, from.get_counter(index));
    } else {
      to.set(index, from.get(index));
    }
  }
}

Parameters::State& Parameters::state() {
  if (state_ == nullptr) throw Error("parameters that were moved from found: they have no values any more");
  return *state_;
}
const Parameters::State& Parameters::state() const { return const_cast<Parameters&>(*this).state(); }

const std::vector<Parameter>& Parameters::list() const { return state().list; }

int Parameters::find(std::string_view name) const {
  const auto& list = state().list;
  const auto found = std::find_if(list.begin(), list.end(), [&](const Parameter& p) { return p.name == name; });
  if (found == list.end()) throw Error(fmt::format("no parameter is called '{}'", name));
  return static_cast<int>(found - list.begin());
}

std::vector<float> Parameters::get(int index) const {
  const Parameter& parameter = state().at(index);
  if (parameter.type == DataType::s64) return {static_cast<float>(get_counter(index))};
  return state().read(index, state().value(index));
}

void Parameters::set(int index, const std::vector<float>& values) {
  const Parameter& parameter = state().at(index);
  require_count(parameter, values);
  if (parameter.type == DataType::s64) {
    set_counter(index, static_cast<std::int64_t>(values[0]));
  } else {
    state().write_value(index, values);
  }
}

std::int64_t Parameters::get_counter(int index) const {
  require_counter(state().at(index));
  return *state().counter(index);
}

void Parameters::set_counter(int index, std::int64_t value) {
  require_counter(state().at(index));
  *state().counter(index) = value;
  state().touch(index);
}

}  // namespace facet
