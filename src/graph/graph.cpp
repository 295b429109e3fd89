#include "facet/graph.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "facet/error.h"
#include "graph/op.h"

namespace facet {

/// What values and scopes point at: it stays where it is when its graph is moved.
struct GraphState {
  Graph* owner;
  std::vector<Node> nodes;
  std::vector<Parameter> parameters;
  std::vector<HeadOutput> heads;
  std::set<std::string, std::less<>> parameter_names;
  std::map<std::string, int> node_names;  // how often each was used
  std::string scope;                      // "block1.residual.0."
  int input = -1;

  std::string unused_node_name(const std::string& name) {
    int uses = node_names[name]++;
    if (uses == 0) return name;
    std::string numbered;
    do {
      numbered = fmt::format("{}_{}", name, uses++);
    } while (node_names.count(numbered) > 0);
    node_names[name] = uses;
    node_names[numbered] = 1;
    return numbered;
  }

  void require_unused_parameter_name(const std::string& name) const {
    if (parameter_names.count(scope + name) == 0) return;
    throw Error(fmt::format("parameter '{}' exists already: give the op another name, or open a scope", scope + name));
  }

  int add_parameter(Parameter parameter) {
    require_unused_parameter_name(parameter.name);
    parameter.name = scope + parameter.name;
    parameter_names.insert(parameter.name);
    parameters.push_back(std::move(parameter));
    return static_cast<int>(parameters.size()) - 1;
  }
};

namespace {

/// What of trainable parameters there is in the innermost scope that `pattern` begins with: 'layer1.0.*'.
std::vector<std::string> names_near(std::string_view pattern, const std::vector<Parameter>& parameters) {
  std::string scope;
  std::vector<std::string> names;
  for (std::size_t end = 0;; ++end) {
    std::vector<std::string> inner;
    for (const Parameter& parameter : parameters) {
      if (!parameter.trainable || !parameter.name.starts_with(scope)) continue;
      const std::size_t dot = parameter.name.find('.', scope.size());
      std::string name = fmt::format("'{}{}'", parameter.name.substr(0, dot), dot == std::string::npos ? "" : ".*");
      if (std::find(inner.begin(), inner.end(), name) == inner.end()) inner.push_back(std::move(name));
    }
    if (inner.empty()) return names;
    names = std::move(inner);
    end = pattern.find('.', end);
    if (end == std::string_view::npos) return names;
    scope = pattern.substr(0, end + 1);
  }
}

}  // namespace

Initializer Initializer::kaiming_normal(std::int64_t fan) {
  if (fan < 1) throw Error(fmt::format("kaiming_normal: fan {} found; at least 1 needed", fan));
  return normal(static_cast<float>(std::sqrt(2.0 / static_cast<double>(fan))));
}

const GraphState& Value::state() const {
  if (graph_ == nullptr)
    throw Error("a value found that belongs to no graph; one made by Graph::input or an op needed");
  return *graph_;
}
const Shape& Value::shape() const { return state().nodes[id_].shape; }
std::int64_t Value::channels() const { return shape().empty() ? 1 : shape().front(); }
Graph& Value::graph() const { return *state().owner; }

Graph::Graph() : state_(std::make_unique<GraphState>()) { state_->owner = this; }
Graph::~Graph() = default;
Graph::Graph(Graph&& other) noexcept : state_(std::move(other.state_)) {
  if (state_) state_->owner = this;
}
Graph& Graph::operator=(Graph&& other) noexcept {
  state_ = std::move(other.state_);
  if (state_) state_->owner = this;
  return *this;
}

Value Graph::input(const Shape& shape) {
  if (state_->input >= 0) throw Error("a graph has one input, and this one has it already");
  if (shape.size() != 3 || shape[0] != 3 || shape[1] < 1 || shape[2] < 1) {
    throw Error(fmt::format("input: shape {} found; allowed: 3 channels, then height and width", to_string(shape)));
  }
  state_->input = static_cast<int>(state_->nodes.size());
  state_->nodes.push_back(
      {.op = nullptr, .name = state_->unused_node_name("input"), .inputs = {}, .parameters = {}, .shape = shape});
  return {state_.get(), state_->input};
}

void Graph::require_own(std::string_view what, Value value) const {
  if (value.graph_ != state_.get()) throw Error(fmt::format("{} belongs to another graph, or to none", what));
}

Value Graph::apply(std::shared_ptr<const Op> op, std::string_view name, const std::vector<Value>& inputs,
                   std::vector<Parameter> parameters) {
  Node node{
      .op = std::move(op), .name = state_->scope + std::string(name), .inputs = {}, .parameters = {}, .shape = {}};
  std::vector<Shape> shapes;
  for (const Value& input : inputs) {
    require_own(fmt::format("{}: an input", node.name), input);
    node.inputs.push_back(input.id());
    shapes.push_back(input.shape());
  }
  try {
    node.shape = node.op->infer_shape(shapes);
  } catch (const Error& error) {
    throw Error(fmt::format("{} ({}): {}", node.name, node.op->kind(), error.what()));
  }
  for (const Parameter& parameter : parameters) state_->require_unused_parameter_name(parameter.name);
  for (Parameter& parameter : parameters) node.parameters.push_back(state_->add_parameter(std::move(parameter)));
  node.name = state_->unused_node_name(node.name);
  state_->nodes.push_back(std::move(node));
  return {state_.get(), static_cast<int>(state_->nodes.size()) - 1};
}

int Graph::add_parameter(std::string_view name, Shape shape, Initializer initializer, bool trainable, DataType type) {
  return state_->add_parameter({std::string(name), std::move(shape), initializer, trainable, type});
}

void Graph::freeze(std::string_view pattern) {
  const std::string glob(pattern);
  bool matched = false;
  for (Parameter& parameter : state_->parameters) {
    if (!parameter.trainable || ::fnmatch(glob.c_str(), parameter.name.c_str(), 0) != 0) continue;
    matched = parameter.frozen = true;
  }
  if (matched) return;
  throw Error(fmt::format("no weight's name matches '{}'; there are {}", pattern,
                          fmt::join(names_near(pattern, state_->parameters), ", ")));
}

void Graph::add_head(std::string_view name, Value logits, Value loss) {
  if (has_head(name)) throw Error(fmt::format("head '{}' exists already", name));
  require_own(fmt::format("head '{}': its value of logits", name), logits);
  require_own(fmt::format("head '{}': its loss", name), loss);
  if (logits.shape().size() != 1 || !loss.shape().empty()) {
    throw Error(fmt::format("head '{}': logits {} and a loss {} found; a vector and a scalar needed", name,
                            to_string(logits.shape()), to_string(loss.shape())));
  }
  state_->heads.push_back({std::string(name), logits.id(), loss.id(), static_cast<int>(logits.channels())});
}

const std::vector<Node>& Graph::nodes() const { return state_->nodes; }
const std::vector<Parameter>& Graph::parameters() const { return state_->parameters; }
const std::vector<HeadOutput>& Graph::heads() const { return state_->heads; }

bool Graph::has_head(std::string_view name) const {
  return std::any_of(state_->heads.begin(), state_->heads.end(), [&](const HeadOutput& h) { return h.name == name; });
}

const Shape& Graph::input_shape() const {
  if (state_->input < 0) throw Error("the graph has no input");
  return state_->nodes[state_->input].shape;
}

std::int64_t Graph::trainable_count() const {
  std::int64_t count = 0;
  for (const Parameter& parameter : state_->parameters) {
    if (parameter.trainable) count += element_count(parameter.shape);
  }
  return count;
}

std::int64_t Graph::frozen_count() const {
  std::int64_t count = 0;
  for (const Parameter& parameter : state_->parameters) {
    if (parameter.frozen) count += element_count(parameter.shape);
  }
  return count;
}

Scope::Scope(Graph& graph, std::string_view name) : graph_(*graph.state_), length_(graph_.scope.size()) {
  graph_.scope += std::string(name) + ".";
}
Scope::Scope(Graph& graph, int index) : Scope(graph, std::to_string(index)) {}
Scope::~Scope() { graph_.scope.resize(length_); }

}  // namespace facet
