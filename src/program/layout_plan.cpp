#include "program/layout_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "facet/error.h"
#include "facet/text.h"

namespace facet::program {

using onednn::Layout;
using onednn::Type;

LayoutPlan plain_layouts(const std::vector<Parameter>& parameters) {
  LayoutPlan plan;
  for (const bool trained : {true, false}) {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (parameters[i].is_trained() != trained) continue;
      const bool is_counter = parameters[i].type == DataType::s64;
      plan.entries.push_back({.parameter = static_cast<int>(i),
                              .layout = is_counter ? Layout() : onednn::plain(parameters[i].shape, Type::f32)});
    }
  }
  return plan;
}

namespace {

/// Extents as "64x3x7x7"; "-" for a scalar.
std::string extents_of(const Layout& layout) {
  return layout == Layout() ? "-" : fmt::format("{}", fmt::join(onednn::dims_of(layout), "x"));
}

/// The fields of a line, separated by tabs.
std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  for (std::size_t begin = 0; begin <= line.size();) {
    const std::size_t end = std::min(line.find('\t', begin), line.size());
    fields.push_back(line.substr(begin, end - begin));
    begin = end + 1;
  }
  return fields;
}

/// Reads extents of `count` elements in total; empty if the text has others.
onednn::Dims read_extents(std::string_view text, std::int64_t count) {
  onednn::Dims dims;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('x', begin), text.size());
    std::int64_t extent = 0;
    const std::from_chars_result read = std::from_chars(text.data() + begin, text.data() + end, extent);
    if (read.ec != std::errc() || read.ptr != text.data() + end || extent < 1 || count % extent != 0) return {};
    dims.push_back(extent);
    count /= extent;
    begin = end + 1;
  }
  return count == 1 ? dims : onednn::Dims();
}

/// Whether the elements fill their memory, each at a place of its own.
bool is_dense(const Layout& layout) {
  const onednn::Dims dims = onednn::dims_of(layout);
  const std::optional<onednn::Dims> strides = onednn::strides_of(layout);
  if (!strides) return true;                                     // oneDNN's own orders are
  std::vector<std::pair<std::int64_t, std::int64_t>> by_stride;  // strides and extents; those of extent 1 don't matter
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] > 1) by_stride.emplace_back((*strides)[i], dims[i]);
  }
  std::sort(by_stride.begin(), by_stride.end());
  std::int64_t elements = 1;
  for (const auto& [stride, extent] : by_stride) {
    if (stride != elements) return false;
    elements *= extent;
  }
  return true;
}

/// Reads one line. @throws Error saying what was found and what is allowed.
LayoutPlan::Entry read_entry(std::string_view line, const std::vector<Parameter>& parameters) {
  const std::vector<std::string_view> fields = fields_of(line);
  if (fields.size() != 4)
    throw Error(fmt::format("{} fields found; 4 are needed", fields.size()), ErrorCode::invalid_data);
  const auto found = std::find_if(parameters.begin(), parameters.end(),
                                  [&](const Parameter& parameter) { return parameter.name == fields[0]; });
  if (found == parameters.end()) {
    throw Error(fmt::format("the model has no parameter '{}'", printable(fields[0])), ErrorCode::invalid_data);
  }
  LayoutPlan::Entry entry{.parameter = static_cast<int>(found - parameters.begin()), .layout = Layout()};
  if (found->type == DataType::s64) {
    if (fields[1] == "-" && fields[2] == "-" && fields[3] == "s64") return entry;
    throw Error(fmt::format("the counter '{}' needs '-', '-' and 's64'", found->name), ErrorCode::invalid_data);
  }
  // An op may give a parameter other extents than PyTorch does (a convolution's groups), with as many elements.
  const onednn::Dims dims = read_extents(fields[1], element_count(found->shape));
  if (dims.empty() || dims.size() > DNNL_MAX_NDIMS) {
    throw Error(fmt::format("extents '{}' of '{}' found; they need as many elements as {}", printable(fields[1]),
                            found->name, to_string(found->shape)),
                ErrorCode::invalid_data);
  }
  entry.layout = onednn::read_order(dims, Type::f32, fields[2]);
  const bool is_plain = entry.layout == onednn::plain(dims, Type::f32);
  if (!is_dense(entry.layout) || (!found->is_trained() && !is_plain)) {
    throw Error(fmt::format("the order '{}' of '{}' found; {} is needed", printable(fields[2]), found->name,
                            found->is_trained() ? "one without gaps" : "PyTorch's, since it is not trained,"),
                ErrorCode::invalid_data);
  }
  if (fields[3] != "f32" && fields[3] != "f32+bf16") {
    throw Error(fmt::format("types '{}' found; f32 and f32+bf16 are allowed", printable(fields[3])),
                ErrorCode::invalid_data);
  }
  entry.has_bf16_copy = fields[3] == "f32+bf16";
  if (entry.has_bf16_copy && !found->is_trained()) {
    throw Error(fmt::format("a bf16 copy of '{}' found; only trained parameters have one", found->name),
                ErrorCode::invalid_data);
  }
  return entry;
}

}  // namespace

LayoutPlan with_named_orders(LayoutPlan plan) {
  for (LayoutPlan::Entry& entry : plan.entries) {
    if (entry.layout == Layout() || !onednn::write_order(entry.layout).empty()) continue;
    entry.layout = onednn::plain(onednn::dims_of(entry.layout), Type::f32);
  }
  return plan;
}

LayoutPlan without_bf16_copies(LayoutPlan plan) {
  for (LayoutPlan::Entry& entry : plan.entries) entry.has_bf16_copy = false;
  return plan;
}

std::string to_text(const LayoutPlan& plan, const std::vector<Parameter>& parameters) {
  std::string text;
  for (const LayoutPlan::Entry& entry : plan.entries) {
    const bool is_counter = entry.layout == Layout();
    const std::string& name = parameters.at(static_cast<std::size_t>(entry.parameter)).name;
    const std::string order = is_counter ? "-" : onednn::write_order(entry.layout);
    if (order.empty()) throw Error(fmt::format("the order of the parameter '{}' has no name", name));
    text += fmt::format("{}\t{}\t{}\t{}\n", name, extents_of(entry.layout), order,
                        is_counter            ? "s64"
                        : entry.has_bf16_copy ? "f32+bf16"
                                              : "f32");
  }
  return text;
}

LayoutPlan read_layout_plan(std::string_view source, std::string_view text, const std::vector<Parameter>& parameters) {
  LayoutPlan plan;
  std::vector<bool> is_placed(parameters.size());
  std::int64_t number = 0;
  try {
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = std::min(text.find('\n', begin), text.size());
      ++number;
      plan.entries.push_back(read_entry(text.substr(begin, end - begin), parameters));
      const auto index = static_cast<std::size_t>(plan.entries.back().parameter);
      if (is_placed[index])
        throw Error(fmt::format("the parameter '{}' is there twice", parameters[index].name), ErrorCode::invalid_data);
      is_placed[index] = true;
      begin = end + 1;
    }
  } catch (const Error& error) {
    throw error.with_prefix(fmt::format("{}, line {}: ", source, number));
  }
  if (const auto missing = std::find(is_placed.begin(), is_placed.end(), false); missing != is_placed.end()) {
    const auto index = static_cast<std::size_t>(missing - is_placed.begin());
    throw Error(fmt::format("{}: the parameter '{}' is missing", source, parameters[index].name),
                ErrorCode::invalid_data);
  }
  const auto is_trained = [&](const LayoutPlan::Entry& entry) {
    return parameters[static_cast<std::size_t>(entry.parameter)].is_trained();
  };
  if (!std::is_partitioned(plan.entries.begin(), plan.entries.end(), is_trained)) {
    throw Error(fmt::format("{}: the parameters that are trained must come first", source), ErrorCode::invalid_data);
  }
  return plan;
}

}  // namespace facet::program
