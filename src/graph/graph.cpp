#include "facet/graph.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "facet/error.h"
#include "graph/op.h"

namespace facet {

struct Graph::State {
  std::vector<Node> nodes;
  std::vector<Parameter> parameters;
  std::vector<HeadOutput> heads;
  std::set<std::string, std::less<>> parameter_names;
  std::map<std::string, int> node_names;  // how often each was used
  std::string scope;                      // "block1.residual.0."
  int input = -1;
};

const Shape& Value::shape() const { return graph_->state_->nodes[id_].shape; }
std::int64_t Value::channels() const { return shape().empty() ? 1 : shape().front(); }

Graph::Graph() : state_(std::make_unique<State>()) {}
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;

Value Graph::input(const Shape& shape) {
  if (state_->input >= 0) throw Error("a graph has one input, and this one has it already");
  if (shape.size() != 3 || shape[0] != 3 || shape[1] < 1 || shape[2] < 1) {
    throw Error(fmt::format("input: shape {} found; allowed: 3 channels, then height and width", to_string(shape)));
  }
  state_->input = static_cast<int>(state_->nodes.size());
  state_->nodes.push_back({.op = nullptr, .name = "input", .inputs = {}, .parameters = {}, .shape = shape});
  return {this, state_->input};
}

Value Graph::apply(std::shared_ptr<const Op> op, std::string_view name, const std::vector<Value>& inputs,
                   std::vector<int> parameters) {
  Node node{.op = std::move(op),
            .name = state_->scope + std::string(name),
            .inputs = {},
            .parameters = std::move(parameters),
            .shape = {}};
  std::vector<Shape> shapes;
  for (const Value& input : inputs) {
    if (&input.graph() != this) throw Error(fmt::format("{}: an input belongs to another graph", node.name));
    node.inputs.push_back(input.id());
    shapes.push_back(input.shape());
  }
  try {
    node.shape = node.op->infer_shape(shapes);
  } catch (const Error& error) {
    throw Error(fmt::format("{} ({}): {}", node.name, node.op->kind(), error.what()));
  }
  if (const int uses = state_->node_names[node.name]++; uses > 0) node.name += fmt::format("_{}", uses);
  state_->nodes.push_back(std::move(node));
  return {this, static_cast<int>(state_->nodes.size()) - 1};
}

int Graph::add_parameter(std::string_view name, Shape shape, Initializer initializer, bool trainable, DataType type) {
  std::string full = state_->scope + std::string(name);
  if (!state_->parameter_names.insert(full).second) {
    throw Error(fmt::format("parameter '{}' exists already: give the op another name, or open a scope", full));
  }
  state_->parameters.push_back({std::move(full), std::move(shape), initializer, trainable, type});
  return static_cast<int>(state_->parameters.size()) - 1;
}

void Graph::add_head(std::string_view name, Value logits, Value loss) {
  for (const HeadOutput& head : state_->heads) {
    if (head.name == name) throw Error(fmt::format("head '{}' exists already", name));
  }
  state_->heads.push_back({std::string(name), logits.id(), loss.id(), static_cast<int>(logits.channels())});
}

const std::vector<Node>& Graph::nodes() const { return state_->nodes; }
const std::vector<Parameter>& Graph::parameters() const { return state_->parameters; }
const std::vector<HeadOutput>& Graph::heads() const { return state_->heads; }

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

Scope::Scope(Graph& graph, std::string_view name) : graph_(graph), length_(graph.state_->scope.size()) {
  graph_.state_->scope += std::string(name) + ".";
}
Scope::Scope(Graph& graph, int index) : Scope(graph, std::to_string(index)) {}
Scope::~Scope() { graph_.state_->scope.resize(length_); }

}  // namespace facet
