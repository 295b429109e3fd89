#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "facet/export.h"
#include "facet/tensor_types.h"

namespace facet {

namespace graph {
class Op;
struct Access;
}  // namespace graph

class Graph;
struct GraphState;

/// An activation of a graph: a light handle that is valid as long as its graph, which may be moved. Values are created
/// by the op functions of ops.h. A default-constructed value belongs to no graph; its members other than id() throw
/// Error.
class FACET_EXPORT Value {
 public:
  Value() = default;

  /// Returns {channels, height, width} or {features}; the batch is left out.
  const Shape& shape() const;
  /// Returns the first extent: channels of an image, features of a vector.
  std::int64_t channels() const;
  Graph& graph() const;
  int id() const { return id_; }

 private:
  friend class Graph;
  friend struct graph::Access;
  Value(GraphState* graph, int id) : graph_(graph), id_(id) {}
  const GraphState& state() const;

  GraphState* graph_ = nullptr;
  int id_ = -1;
};

/// How a parameter is initialised. Random values depend only on the seed, the parameter's name and the element's index,
/// so they are the same for any thread count and layout.
struct FACET_EXPORT Initializer {
  enum class Kind : std::uint8_t { constant, uniform, normal };
  Kind kind = Kind::constant;
  float value = 0;  ///< constant: the value; uniform: values are in [-value, value); normal: the standard deviation

  static Initializer zeros() { return {Kind::constant, 0.0F}; }
  static Initializer ones() { return {Kind::constant, 1.0F}; }
  static Initializer uniform(float bound) { return {Kind::uniform, bound}; }
  /// Normal distribution with mean 0.
  static Initializer normal(float deviation) { return {Kind::normal, deviation}; }
  /// Normal distribution with mean 0 and variance 2 / fan, for layers before a ReLU (He et al. 2015, "Delving Deep into
  /// Rectifiers").
  /// @param fan products that an output sums (fan in), or that an input takes part in (fan out); at least 1.
  static Initializer kaiming_normal(std::int64_t fan);
};

/// A named tensor that persists between steps: a weight, or a statistic that is kept but not trained (PyTorch: a
/// buffer).
struct Parameter {
  std::string name = {};  ///< dotted, in PyTorch's convention: block1.residual.0.conv1.weight
  Shape shape = {};       ///< in PyTorch's order
  Initializer initializer = {};
  bool trainable = true;
  DataType type = DataType::f32;  ///< f32, or s64 for num_batches_tracked
  bool frozen = false;            ///< a weight that training leaves unchanged (PyTorch: requires_grad = False)

  bool is_trained() const { return trainable && !frozen; }
};

/// One op applied to values. Its only output is the value with the same index.
struct Node {
  std::shared_ptr<const graph::Op> op = {};  ///< null for the graph's input
  std::string name = {};                     ///< the scope's path and the op's own name: block1.conv
  std::vector<int> inputs = {};              ///< indices of values
  std::vector<int> parameters = {};          ///< indices into Graph::parameters()
  Shape shape = {};                          ///< of the output, without the batch
};

/// The loss of a head, by the function of ops.h that adds it. It says what the head's probabilities are too.
enum class LossKind : std::uint8_t {
  softmax_cross_entropy,  ///< probabilities by softmax
  binary_cross_entropy,   ///< probabilities by the sigmoid of each output
  mean_squared_error,     ///< the outputs themselves take the place of probabilities
  custom,                 ///< the same
  coral,                  ///< probabilities of ordered classes by sigmoids, see coral_loss
};

/// Whether a head with this loss predicts one of its classes for each image.
constexpr bool predicts_class(LossKind kind) {
  return kind == LossKind::softmax_cross_entropy || kind == LossKind::coral;
}

/// Whether heads with this loss have an accuracy.
constexpr bool has_accuracy(LossKind kind) { return predicts_class(kind) || kind == LossKind::binary_cross_entropy; }

/// The output of a head.
struct HeadOutput {
  std::string name = {};
  int logits = -1;  ///< index of a value of shape {classes}, for coral_loss {classes - 1}
  int loss = -1;    ///< index of a scalar value: the head's mean loss over the targets that the batch has
  int classes = 0;  ///< number of classes, or of outputs that aren't classes
  LossKind kind = LossKind::softmax_cross_entropy;

  /// Returns the number of logits: one for each class or output, for coral_loss one fewer.
  int logit_count() const { return kind == LossKind::coral ? classes - 1 : classes; }
};

/// The description of a model: ops applied to values, with parameters named by scopes. A graph holds no weights and no
/// batch size. It is built by the op functions of ops.h. Const members are thread-safe; building a graph is not. Every
/// member function of a graph that was moved from throws Error, until another graph is moved into it or copied to it.
class FACET_EXPORT Graph {
 public:
  Graph();
  ~Graph();
  /// A copy has nodes, parameters and heads of its own; only the ops, which don't change, are shared. Values of the
  /// original don't belong to the copy, and no scope is open in it.
  /// @throws Error when `other` was moved from.
  Graph(const Graph& other);
  Graph& operator=(const Graph& other);  ///< values of the previous content become invalid; no scope of it may be open
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;

  /// Adds the model's input, an image. A graph has exactly one.
  /// @param shape {channels, height, width}; channels is 3 (RGB).
  Value input(const Shape& shape);

  /// Excludes weights from training. Gradients are propagated through their layers only if a layer before them is
  /// trained. A batch normalisation whose weight and bias are both frozen normalises by its running statistics, which
  /// then stay unchanged.
  /// @param pattern a pattern of weights' names: `*` matches any text, `?` any character, [abc] one of the listed
  ///   characters. Statistics don't match.
  /// @throws Error naming the weights that exist when no weight's name matches.
  void freeze(std::string_view pattern);

  const std::vector<Node>& nodes() const;
  const std::vector<Parameter>& parameters() const;
  const std::vector<HeadOutput>& heads() const;
  bool has_head(std::string_view name) const;
  /// Returns the input's shape: {channels, height, width}.
  const Shape& input_shape() const;
  /// Returns the number of elements of all trainable parameters, including frozen ones.
  std::int64_t trainable_count() const;
  /// Returns the number of elements of the frozen parameters.
  std::int64_t frozen_count() const;

 private:
  friend class Scope;
  friend struct graph::Access;
  GraphState& state() const;

  std::unique_ptr<GraphState> state_;
};

/// Prefixes the names of its graph's nodes and parameters by `name` and a dot as long as the scope exists. The prefixes
/// of scopes that were opened earlier and are still open come first; scopes may end in any order. The graph may be
/// moved while a scope is open (returned from the function that opened the scope), but not destroyed.
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
