#include "facet/parameters.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/random.h"
#include "facet/error.h"
#include "kernels/update.h"
#include "program/parameter_store.h"

namespace facet {

namespace {

using onednn::Layout;

float* floats(const base::PageBuffer& buffer) { return reinterpret_cast<float*>(buffer.data()); }
std::int64_t* counter(const base::PageBuffer& buffer) { return reinterpret_cast<std::int64_t*>(buffer.data()); }

Layout plain_like(const Layout& layout) { return onednn::plain(onednn::dims_of(layout), onednn::type_of(layout)); }

StoredParameter make_stored(const Parameter& parameter, std::uint64_t seed) {
  StoredParameter stored;
  if (parameter.type == DataType::s64) {
    stored.master = base::PageBuffer(sizeof(std::int64_t));
    *counter(stored.master) = static_cast<std::int64_t>(parameter.initializer.value);
    return stored;
  }
  stored.layout = onednn::plain(parameter.shape, onednn::Type::f32);
  stored.master = base::PageBuffer(stored.layout.get_size());
  const std::int64_t count = element_count(parameter.shape);
  float* values = floats(stored.master);
  const float value = parameter.initializer.value;
  base::RandomStream random(seed, base::Purpose::initialization, base::hash(parameter.name));
  switch (parameter.initializer.kind) {
    case Initializer::Kind::constant:
      std::fill_n(values, count, value);
      break;
    case Initializer::Kind::uniform:
      std::generate_n(values, count, [&] { return random.uniform(-value, value); });
      break;
    case Initializer::Kind::normal:
      std::generate_n(values, count, [&] { return value * random.normal(); });
      break;
  }
  return stored;
}

void relayout(base::PageBuffer& buffer, const Layout& from, const Layout& to) {
  base::PageBuffer moved(to.get_size());
  onednn::copy(from, buffer.data(), to, moved.data());
  buffer = std::move(moved);
}

std::vector<float> read_plain(const StoredParameter& stored, const base::PageBuffer& buffer, std::int64_t count) {
  std::vector<float> values(count);
  onednn::copy(stored.layout, buffer.data(), plain_like(stored.layout), values.data());
  return values;
}

void write_plain(const StoredParameter& stored, const base::PageBuffer& buffer, const std::vector<float>& values) {
  onednn::copy(plain_like(stored.layout), values.data(), stored.layout, buffer.data());
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

bool all_finite(const StoredParameter& stored) {
  return kernels::all_finite(floats(stored.master),
                             static_cast<std::int64_t>(stored.layout.get_size() / sizeof(float)));
}

}  // namespace

int Parameters::State::find_not_finite() const {
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i].type == DataType::f32 && !all_finite(stored[i])) return static_cast<int>(i);
  }
  return -1;
}

void Parameters::State::require_slots(const std::vector<std::string>& names) {
  if (names == slot_names) return;
  slot_names = names;
  for (std::size_t i = 0; i < list.size(); ++i) {
    stored[i].slots.clear();
    if (!list[i].is_trained()) continue;
    for (std::size_t slot = 0; slot < names.size(); ++slot) stored[i].slots.emplace_back(stored[i].layout.get_size());
  }
}

void Parameters::State::round_masters() {
  if (rounded_version == version) return;
  for (const StoredParameter& parameter : stored) {
    if (parameter.rounded.size() == 0) continue;
    const Layout rounded = onednn::with_type(parameter.layout, onednn::Type::bf16);
    onednn::copy(parameter.layout, parameter.master.data(), rounded, parameter.rounded.data());
  }
  rounded_version = version;
}

void Parameters::State::set_layout(int index, const Layout& layout) {
  StoredParameter& parameter = stored[index];
  if (parameter.layout == layout) return;
  // The op may give the same elements other dimensions: grouped weights have one more than PyTorch's.
  const Layout from =
      onednn::dims_of(parameter.layout) == onednn::dims_of(layout) ? parameter.layout : plain_like(layout);
  if (from != parameter.layout && parameter.layout != plain_like(parameter.layout)) {
    throw Error(fmt::format("parameter '{}' is laid out for an op of other extents", list[index].name));
  }
  relayout(parameter.master, from, layout);
  for (base::PageBuffer& slot : parameter.slots) relayout(slot, from, layout);
  parameter.layout = layout;
  ++version;
  ++layout_version;
}

std::vector<float> Parameters::State::get_slot(int index, int slot) const {
  return read_plain(stored[index], stored[index].slots.at(slot), element_count(list[index].shape));
}

void Parameters::State::set_slot(int index, int slot, const std::vector<float>& values) {
  require_count(list[index], values);
  write_plain(stored[index], stored[index].slots.at(slot), values);
}

Parameters::Parameters(const Graph& graph, std::uint64_t seed) : state_(std::make_unique<State>()) {
  state_->list = graph.parameters();
  for (const Parameter& parameter : state_->list) state_->stored.push_back(make_stored(parameter, seed));
}
Parameters::~Parameters() = default;
Parameters::Parameters(Parameters&&) noexcept = default;
Parameters& Parameters::operator=(Parameters&&) noexcept = default;

Parameters::State& Parameters::state() {
  if (state_ == nullptr) throw Error("parameters that were moved from found: they have no values any more");
  return *state_;
}
const Parameters::State& Parameters::state() const { return const_cast<Parameters&>(*this).state(); }

const std::vector<Parameter>& Parameters::list() const { return state().list; }

const Parameter& Parameters::State::at(int index) const {
  if (index < 0 || index >= static_cast<int>(list.size())) {
    throw Error(fmt::format("parameter {} found; there are {}, counted from 0", index, list.size()));
  }
  return list[index];
}

int Parameters::find(std::string_view name) const {
  const auto& list = state().list;
  const auto found = std::find_if(list.begin(), list.end(), [&](const Parameter& p) { return p.name == name; });
  if (found == list.end()) throw Error(fmt::format("no parameter is called '{}'", name));
  return static_cast<int>(found - list.begin());
}

std::vector<float> Parameters::get(int index) const {
  const Parameter& parameter = state().at(index);
  if (parameter.type == DataType::s64) return {static_cast<float>(get_counter(index))};
  return read_plain(state().stored[index], state().stored[index].master, element_count(parameter.shape));
}

void Parameters::set(int index, const std::vector<float>& values) {
  const Parameter& parameter = state().at(index);
  require_count(parameter, values);
  if (parameter.type == DataType::s64) {
    set_counter(index, static_cast<std::int64_t>(values[0]));
    return;
  }
  write_plain(state().stored[index], state().stored[index].master, values);
  ++state().version;
  ++state().set_version;
}

std::int64_t Parameters::get_counter(int index) const {
  require_counter(state().at(index));
  return *counter(state().stored[index].master);
}

void Parameters::set_counter(int index, std::int64_t value) {
  require_counter(state().at(index));
  *counter(state().stored[index].master) = value;
  ++state().version;
  ++state().set_version;
}

}  // namespace facet
