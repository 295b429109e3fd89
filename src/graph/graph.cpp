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

namespace {

/// oneDNN's limit.
constexpr std::size_t max_extents = 12;
/// The limit of a tensor's elements, without the batch. It refuses implausible shapes before any computation overflows.
constexpr std::int64_t max_elements = std::int64_t{1} << 40;

/// @throws Error when the shape has an extent below 1, or more than max_elements elements.
void require_countable(const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) {
    if (extent < 1 || extent > max_elements / count) {
      throw Error(fmt::format("shape {} found; extents of at least 1 and at most {} elements are allowed",
                              to_string(shape), max_elements));
    }
    count *= extent;
  }
}

/// Checks a parameter. @throws Error whose message doesn't name the parameter.
void require_sound(const Parameter& parameter) {
  using Kind = Initializer::Kind;
  const auto [kind, value] = parameter.initializer;
  if (kind != Kind::constant && kind != Kind::uniform && kind != Kind::normal) {
    throw Error(
        fmt::format("initializer of kind {} found; constant, uniform and normal are allowed", static_cast<int>(kind)));
  }
  if (!std::isfinite(value))
    throw Error(fmt::format("an initializer has the value {}; a finite number is needed", value));
  if (parameter.type == DataType::s64) {
    if (parameter.trainable || !parameter.shape.empty()) {
      throw Error(fmt::format("an s64 parameter of shape {}{} found; it must be a scalar that isn't trained",
                              to_string(parameter.shape), parameter.trainable ? " that is trained" : ""));
    }
    return;
  }
  if (parameter.type != DataType::f32) {
    throw Error(fmt::format("type {} found; f32 and s64 are allowed", static_cast<int>(parameter.type)));
  }
  if (parameter.shape.empty() || parameter.shape.size() > max_extents) {
    throw Error(fmt::format("shape {} found; 1 to {} extents are allowed", to_string(parameter.shape), max_extents));
  }
  require_countable(parameter.shape);
}

}  // namespace

/// The state of a graph, to which values and scopes point. Its address stays the same when the graph is moved.
struct GraphState {
  /// A scope that has not ended yet.
  struct OpenScope {
    std::uint64_t number;
    std::string prefix;
  };

  Graph* owner;
  std::vector<Node> nodes;
  std::vector<Parameter> parameters;
  std::vector<HeadOutput> heads;
  std::set<std::string, std::less<>> parameter_names;
  std::map<std::string, int> node_names;  // uses of each name
  std::vector<OpenScope> scopes;          // in the order in which they were opened
  std::string scope;                      // their joined prefixes: "block1.residual.0."
  std::uint64_t scopes_so_far = 0;
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

  void require_new_parameter(const Parameter& parameter) const {
    const std::string name = scope + parameter.name;
    if (parameter.name.empty()) throw Error(fmt::format("a parameter in the scope '{}' has no name", scope));
    if (parameter_names.count(name) > 0) {
      throw Error(fmt::format("parameter '{}' exists already: give the op another name, or open a scope", name));
    }
    try {
      require_sound(parameter);
    } catch (const Error& error) {
      throw error.with_prefix(fmt::format("parameter '{}': ", name));
    }
  }

  void require_new_parameters(const std::vector<Parameter>& all) const {
    std::set<std::string_view> names;
    for (const Parameter& parameter : all) {
      require_new_parameter(parameter);
      if (!names.insert(parameter.name).second) {
        throw Error(fmt::format("two parameters are called '{}'", scope + parameter.name));
      }
    }
  }

  void join_scopes() {
    scope.clear();
    for (const OpenScope& open : scopes) scope += open.prefix;
  }

  int add_parameter(Parameter parameter) {
    parameter.name = scope + parameter.name;
    parameter_names.insert(parameter.name);
    parameters.push_back(std::move(parameter));
    return static_cast<int>(parameters.size()) - 1;
  }
};

namespace {

/// Returns the names of trainable parameters and of inner scopes ('layer1.0.*') in the innermost scope that `pattern`
/// begins with.
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
  if (fan < 1) throw Error(fmt::format("kaiming_normal: fan {} found; at least 1 is needed", fan));
  return normal(static_cast<float>(std::sqrt(2.0 / static_cast<double>(fan))));
}

const GraphState& Value::state() const {
  if (graph_ == nullptr)
    throw Error("the value belongs to no graph; one that Graph::input or an op returned is needed");
  return *graph_;
}
const Shape& Value::shape() const { return state().nodes[id_].shape; }
std::int64_t Value::channels() const { return shape().empty() ? 1 : shape().front(); }
Graph& Value::graph() const { return *state().owner; }

Graph::Graph() : state_(std::make_unique<GraphState>()) { state_->owner = this; }
Graph::~Graph() = default;
Graph::Graph(const Graph& other) : state_(std::make_unique<GraphState>(other.state())) {
  state_->owner = this;
  state_->scopes.clear();
  state_->join_scopes();
}
Graph& Graph::operator=(const Graph& other) {
  if (this != &other) *this = Graph(other);
  return *this;
}
Graph::Graph(Graph&& other) noexcept : state_(std::move(other.state_)) {
  if (state_) state_->owner = this;
}
Graph& Graph::operator=(Graph&& other) noexcept {
  state_ = std::move(other.state_);
  if (state_) state_->owner = this;
  return *this;
}

GraphState& Graph::state() const {
  if (state_ == nullptr) throw Error("the graph was moved from and is empty");
  return *state_;
}

Value Graph::input(const Shape& shape) {
  GraphState& s = state();
  if (s.input >= 0) throw Error("the graph has an input already; one is allowed");
  if (shape.size() != 3 || shape[0] != 3 || shape[1] < 1 || shape[2] < 1) {
    throw Error(fmt::format("input: shape {} found; {{3, height, width}} is allowed", to_string(shape)));
  }
  require_countable(shape);
  s.input = static_cast<int>(s.nodes.size());
  s.nodes.push_back(
      {.op = nullptr, .name = s.unused_node_name("input"), .inputs = {}, .parameters = {}, .shape = shape});
  return {&s, s.input};
}

void Graph::freeze(std::string_view pattern) {
  const std::string glob(pattern);
  bool matched = false;
  for (Parameter& parameter : state().parameters) {
    if (!parameter.trainable || ::fnmatch(glob.c_str(), parameter.name.c_str(), 0) != 0) continue;
    matched = parameter.frozen = true;
  }
  if (matched) return;
  throw Error(fmt::format("no weight has a name that matches '{}'; the names near it are {}", pattern,
                          fmt::join(names_near(pattern, state().parameters), ", ")));
}

const std::vector<Node>& Graph::nodes() const { return state().nodes; }
const std::vector<Parameter>& Graph::parameters() const { return state().parameters; }
const std::vector<HeadOutput>& Graph::heads() const { return state().heads; }

bool Graph::has_head(std::string_view name) const {
  return std::any_of(heads().begin(), heads().end(), [&](const HeadOutput& h) { return h.name == name; });
}

const Shape& Graph::input_shape() const {
  if (state().input < 0) throw Error("the graph has no input");
  return state().nodes[state().input].shape;
}

std::int64_t Graph::trainable_count() const {
  std::int64_t count = 0;
  for (const Parameter& parameter : parameters()) {
    if (parameter.trainable) count += element_count(parameter.shape);
  }
  return count;
}

std::int64_t Graph::frozen_count() const {
  std::int64_t count = 0;
  for (const Parameter& parameter : parameters()) {
    if (parameter.frozen) count += element_count(parameter.shape);
  }
  return count;
}

Scope::Scope(Graph& graph, std::string_view name) : graph_(graph.state()), number_(++graph_.scopes_so_far) {
  if (name.empty()) throw Error(fmt::format("a scope within the scope '{}' has no name", graph_.scope));
  graph_.scopes.push_back({number_, std::string(name) + "."});
  graph_.join_scopes();
}
Scope::Scope(Graph& graph, int index) : Scope(graph, std::to_string(index)) {}
Scope::~Scope() {
  std::erase_if(graph_.scopes, [&](const GraphState::OpenScope& open) { return open.number == number_; });
  graph_.join_scopes();
}

namespace graph {

/// What building a graph needs of Graph and Value.
struct Access {
  static GraphState& state(const Graph& graph) { return graph.state(); }
  static Value value(GraphState& state, int id) { return {&state, id}; }
  static void require_own(const GraphState& state, std::string_view what, Value value) {
    if (value.graph_ != &state) throw Error(fmt::format("{} belongs to another graph or to no graph", what));
  }
};

Value apply(Graph& graph, std::shared_ptr<const Op> op, std::string_view name, const std::vector<Value>& inputs,
            std::vector<Parameter> parameters) {
  GraphState& s = Access::state(graph);
  Node node{.op = std::move(op), .name = s.scope + std::string(name), .inputs = {}, .parameters = {}, .shape = {}};
  if (node.op == nullptr) throw Error(fmt::format("{}: the op is null", node.name));
  std::vector<Shape> shapes;
  for (const Value& input : inputs) {
    Access::require_own(s, fmt::format("{}: an input", node.name), input);
    node.inputs.push_back(input.id());
    shapes.push_back(input.shape());
  }
  try {
    node.shape = node.op->infer_shape(shapes);
    require_countable(node.shape);
    s.require_new_parameters(parameters);
  } catch (const Error& error) {
    throw error.with_prefix(fmt::format("{} ({}): ", node.name, node.op->kind()));
  }
  for (Parameter& parameter : parameters) node.parameters.push_back(s.add_parameter(std::move(parameter)));
  node.name = s.unused_node_name(node.name);
  s.nodes.push_back(std::move(node));
  return Access::value(s, static_cast<int>(s.nodes.size()) - 1);
}

int add_parameter(Graph& graph, std::string_view name, Shape shape, Initializer initializer, bool trainable,
                  DataType type) {
  GraphState& s = Access::state(graph);
  Parameter parameter{std::string(name), std::move(shape), initializer, trainable, type};
  s.require_new_parameter(parameter);
  return s.add_parameter(std::move(parameter));
}

void add_head(Graph& graph, std::string_view name, Value logits, Value loss, LossKind kind) {
  GraphState& s = Access::state(graph);
  if (name.empty()) throw Error("a head has no name");
  if (graph.has_head(name)) throw Error(fmt::format("head '{}' exists already", name));
  Access::require_own(s, fmt::format("head '{}': the value of its logits", name), logits);
  Access::require_own(s, fmt::format("head '{}': the value of its loss", name), loss);
  if (logits.shape().size() != 1 || !loss.shape().empty()) {
    throw Error(
        fmt::format("head '{}': logits of shape {} and a loss of shape {} found; a vector and a scalar are needed",
                    name, to_string(logits.shape()), to_string(loss.shape())));
  }
  s.heads.push_back(
      {std::string(name), logits.id(), loss.id(), static_cast<int>(class_count(kind, logits.channels())), kind});
}

namespace {

/// @throws Error where a parameter of the node has another shape with inputs of these shapes.
void require_same_parameters(const Graph& graph, const Node& node, const std::vector<Shape>& shapes) {
  if (node.parameters.empty()) return;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const Shape& before = graph.nodes()[static_cast<std::size_t>(node.inputs[i])].shape;
    if (before.empty() || (!shapes[i].empty() && shapes[i].front() == before.front())) continue;
    throw Error(fmt::format("the shape of '{}' depends on the size of the input",
                            graph.parameters()[static_cast<std::size_t>(node.parameters.front())].name));
  }
}

}  // namespace

Graph with_input(const Graph& graph, const Shape& input) {
  Graph copy = graph;
  require_countable(input);
  GraphState& s = Access::state(copy);
  for (Node& node : s.nodes) {
    if (node.op == nullptr) {
      node.shape = input;
      continue;
    }
    std::vector<Shape> shapes;
    for (const int value : node.inputs) shapes.push_back(s.nodes[static_cast<std::size_t>(value)].shape);
    require_same_parameters(graph, node, shapes);
    try {
      node.shape = node.op->infer_shape(shapes);
      require_countable(node.shape);
    } catch (const Error& error) {
      throw error.with_prefix(fmt::format("{} ({}): ", node.name, node.op->kind()));
    }
  }
  for (const HeadOutput& head : s.heads) {
    const auto logits = static_cast<std::size_t>(head.logits);
    if (s.nodes[logits].shape == graph.nodes()[logits].shape) continue;
    throw Error(fmt::format("the number of outputs of head '{}' depends on the size of the input", head.name));
  }
  return copy;
}

Operand Op::write_operators(OperatorWriter&) const {
  throw Error(fmt::format("{} can't be exported: it has no equivalent among ONNX's operators", kind()),
              ErrorCode::unsupported);
}

}  // namespace graph

}  // namespace facet
