#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "facet/graph.h"
#include "onednn/onednn.h"

namespace facet::program {

struct ProgramOptions;
class TuningRecord;

/// How the parameters of a graph lie in memory. It is decided before anything is compiled: every program of the graph
/// reads and updates the parameters where the plan places them. Two processes that exchange gradients or weights
/// element by element must use the same plan.
struct LayoutPlan {
  /// The place of one parameter.
  struct Entry {
    int parameter = 0;      ///< index into Graph::parameters()
    onednn::Layout layout;  ///< of the f32 values and of the optimiser's slots; empty for an s64 parameter
    /// The update also writes the weight rounded to bf16, in this order. One process has such a copy of a weight that
    /// its training step reads in bf16 in this order, which has no blocks. Processes that train together have one of
    /// each weight that the step reads in bf16 alone, in any order: they give each other the copies instead of the f32
    /// values, and their training programs read nothing else. Only trained parameters in an order that has a name
    /// (onednn::write_order) can have a copy.
    bool has_bf16_copy = false;

    bool operator==(const Entry&) const = default;
  };

  /// One entry for each parameter, in memory's order: first those that are trained, in the order in which backward
  /// computes their gradients, then all others.
  std::vector<Entry> entries;

  bool operator==(const LayoutPlan&) const = default;
};

/// All parameters in PyTorch's order of elements; those that are trained come first, in the graph's order.
LayoutPlan plain_layouts(const std::vector<Parameter>& parameters);

/// The layouts in which the training step of `graph` computes its gradients, so that updates need no reorder. Lowers
/// the graph once; candidates that `tuning_record` doesn't have are measured and recorded as in compilation.
/// @param options of the training program that runs most often: it also decides which weights have a bf16 copy. Where
/// processes train together, all orders have a name, since the others get the plan as text.
/// @throws Error as Program's constructor does.
LayoutPlan plan_layouts(const Graph& graph, const ProgramOptions& options, TuningRecord& tuning_record);

/// The same plan with each order that has no name (onednn::write_order) replaced by PyTorch's, for a plan that is to be
/// written. Updates then reorder such a gradient.
LayoutPlan with_named_orders(LayoutPlan plan);

/// The same layouts without bf16 copies, for a moving average of the parameters.
LayoutPlan without_bf16_copies(LayoutPlan plan);

/// The plan as text, one line for each entry: the parameter's name, its extents, the order of its elements, and the
/// types in which it is kept (f32, f32+bf16 or s64), separated by tabs.
/// @throws Error naming the parameter whose order has no name.
std::string to_text(const LayoutPlan& plan, const std::vector<Parameter>& parameters);

/// Reads what to_text() wrote for the same parameters.
/// @param source what messages call the text: a file, or a process.
/// @throws Error naming the source, the line, what was found and what is allowed.
LayoutPlan read_layout_plan(std::string_view source, std::string_view text, const std::vector<Parameter>& parameters);

}  // namespace facet::program
