#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "facet/export.h"
#include "facet/tensor_types.h"

namespace facet {

class Graph;
class Op;
struct GraphState;

/// An activation of a graph: a light handle, valid as long as its graph, which may be moved. Values are made by the op
/// functions of ops.h; a default one belongs to no graph, and what asks it for one throws Error.
class FACET_EXPORT Value {
 public:
  Value() = default;

  /// {channels, height, width} or {features}; without the batch.
  const Shape& shape() const;
  /// The first extent: channels of an image, features of a vector.
  std::int64_t channels() const;
  Graph& graph() const;
  int id() const { return id_; }

 private:
  friend class Graph;
  Value(GraphState* graph, int id) : graph_(graph), id_(id) {}
  const GraphState& state() const;

  GraphState* graph_ = nullptr;
  int id_ = -1;
};

/// How a parameter starts out. What is drawn is a function of (seed, the parameter's name, element): the same for any
/// thread count and layout.
struct FACET_EXPORT Initializer {
  enum class Kind : std::uint8_t { constant, uniform, normal };
  Kind kind = Kind::constant;
  float value = 0;  ///< constant: the value; uniform: the draws are from [-value, value); normal: standard deviation

  static Initializer zeros() { return {Kind::constant, 0.0F}; }
  static Initializer ones() { return {Kind::constant, 1.0F}; }
  static Initializer uniform(float bound) { return {Kind::uniform, bound}; }
  /// Of mean 0.
  static Initializer normal(float deviation) { return {Kind::normal, deviation}; }
  /// For layers before a ReLU (He et al. 2015, "Delving Deep into Rectifiers"): normal, of variance 2 / fan.
  /// @param fan products that an output sums (fan in), or that an input takes part in (fan out); at least 1.
  static Initializer kaiming_normal(std::int64_t fan);
};

/// A named tensor that outlives a step: a weight, or a statistic that is kept but not trained (PyTorch: a buffer).
struct Parameter {
  std::string name = {};  ///< dotted, in PyTorch's convention: block1.residual.0.conv1.weight
  Shape shape = {};       ///< in PyTorch's order
  Initializer initializer = {};
  bool trainable = true;
  DataType type = DataType::f32;  ///< f32, or s64 for num_batches_tracked
  bool frozen = false;            ///< a weight that training leaves as it is (PyTorch: requires_grad = False)

  bool is_trained() const { return trainable && !frozen; }
};

/// One op applied to values; its one output is the value of the same index.
struct Node {
  std::shared_ptr<const Op> op = {};  ///< null for the graph's input
  std::string name = {};              ///< the scope's path and the op's own name: block1.conv
  std::vector<int> inputs = {};       ///< values
  std::vector<int> parameters = {};   ///< indices into Graph::parameters()
  Shape shape = {};                   ///< of the output, without the batch
};

/// A classifier's output: logits of one question asked of each image.
struct HeadOutput {
  std::string name = {};
  int logits = -1;  ///< value, of shape {classes}
  int loss = -1;    ///< value, a scalar: the head's mean loss over the labelled images of the batch
  int classes = 0;
};

/// A model as its paper would write it: ops applied to values, parameters named by scopes. A graph is a plain
/// description: it holds no weights and no batch size. Not thread-safe while it is built; const use is. Every member
/// function of a graph that was moved from throws Error, until another graph is moved into it.
class FACET_EXPORT Graph {
 public:
  Graph();
  ~Graph();
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;

  /// The image that the model looks at. Exactly one per graph.
  /// @param shape {channels, height, width}; channels is 3 (RGB).
  Value input(const Shape& shape);

  /// Adds a node and the parameters that it owns, their names ("conv.weight") prefixed by the open scopes. For the op
  /// functions of ops.h; a model calls those. A name that the scope has already gets a number (relu, relu_1).
  /// @throws Error when there is no op; naming the op when its shape rule refuses the inputs' shapes, when an output
  /// would have more than 2^40 elements, when an input is of another graph, or when a parameter is refused as
  /// add_parameter does; the graph is then as it was.
  Value apply(std::shared_ptr<const Op> op, std::string_view name, const std::vector<Value>& inputs,
              std::vector<Parameter> parameters = {});

  /// Adds a parameter named by the open scopes and `name` ("conv.weight"); returns its index.
  /// @param shape of f32: 1 to 12 extents, each at least 1, of 2^40 elements at most; of s64, which is one number:
  /// none.
  /// @throws Error naming it when the name is empty or exists already, when the shape is another, when the
  /// initializer's value isn't finite or its kind or the type is none, and when an s64 is to be trained.
  int add_parameter(std::string_view name, Shape shape, Initializer initializer, bool trainable = true,
                    DataType type = DataType::f32);

  /// Keeps weights as they are in training: their layers pass gradients on only where something before them is trained,
  /// and a batch normalisation whose weight and bias are both frozen normalises by its running statistics, which stay.
  /// @param pattern of parameters' names: `*` stands for any text, `?` for a letter, [abc] for one of some; the names
  /// of
  ///   statistics don't count.
  /// @throws Error naming what there is instead when no weight's name matches.
  void freeze(std::string_view pattern);

  /// Declares `loss` (a scalar value computed from `logits`) as the loss of a head. The training loss is their sum.
  /// @throws Error naming the head when its name is empty or another's, when the loss is no scalar or the logits no
  /// vector, or when either is of another graph.
  void add_head(std::string_view name, Value logits, Value loss);

  const std::vector<Node>& nodes() const;
  const std::vector<Parameter>& parameters() const;
  const std::vector<HeadOutput>& heads() const;
  bool has_head(std::string_view name) const;
  /// The input's shape: {channels, height, width}.
  const Shape& input_shape() const;
  /// Elements of all trainable parameters, frozen ones included.
  std::int64_t trainable_count() const;
  /// Elements of those that are frozen.
  std::int64_t frozen_count() const;

 private:
  friend class Scope;
  GraphState& state() const;
  void require_own(std::string_view what, Value value) const;

  std::unique_ptr<GraphState> state_;
};

/// While it lives, names of its graph's nodes and parameters are prefixed by `name` and a dot, after the prefixes of
/// the scopes that were opened before it and are still open: they may end in any order. The graph may be moved
/// meanwhile (returned from the function that opened the scope), not destroyed.
class FACET_EXPORT Scope {
 public:
  /// @throws Error when the name is empty.
  Scope(Graph& graph, std::string_view name);
  Scope(Graph& graph, int index);
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  GraphState& graph_;
  std::uint64_t number_;
};

}  // namespace facet
