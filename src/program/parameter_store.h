#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/memory.h"
#include "facet/parameters.h"
#include "program/layout_plan.h"

namespace facet {

namespace comm {
class BucketExchange;
}

/// Where the store holds one parameter.
struct StoredParameter {
  onednn::Layout layout;   ///< of the f32 values, the optimiser's slots and the gradient; empty for s64
  std::size_t offset = 0;  ///< of its first element in the ranges of values, slots and gradients, in 4-byte elements
  std::optional<std::size_t> bf16_offset = {};  ///< of its copy's first element, in 2-byte elements; empty: no copy
  onednn::Layout bf16_layout = {};              ///< of its copy, in the same order
};

/// The parameters' values in memory, placed by a layout plan. What belongs together is one contiguous range: all
/// values, each of the optimiser's slots, the bf16 copies, and the gradients that outlive the batch that they come
/// from. Each range holds parameters in the plan's order, each from a cache line on; gaps between them are zero. The
/// values of trained parameters come first; the other ranges hold trained parameters only.
struct Parameters::State {
  /// Makes zeros.
  State(std::vector<Parameter> parameters, program::LayoutPlan layouts);
  /// Makes the initial values that the graph specifies.
  State(std::vector<Parameter> parameters, std::uint64_t seed, program::LayoutPlan layouts);

  std::vector<Parameter> list;
  /// Programs that are compiled for it share it, so that it cannot change under them.
  std::shared_ptr<const program::LayoutPlan> plan;
  std::vector<StoredParameter> stored;  ///< by parameter
  std::size_t trained_elements = 0;     ///< of the ranges' part that holds trained parameters, gaps included
  std::vector<std::string> slot_names;  ///< empty until require_slots()
  /// Of each slot, the elements that this process has: trained_elements, or fewer where the processes that train
  /// together share the slots. A process never touches the others, which so take no memory.
  std::size_t own_slot_elements = 0;

  base::PageBuffer values;
  std::vector<base::PageBuffer> slots;
  base::PageBuffer gradients;  ///< empty until require_gradients()
  base::PageBuffer bf16;       ///< copies of trained values; empty if the plan has none

  /// By parameter: the store's generation when its values changed last. Programs that hold what they have prepared
  /// from a parameter compare it with the generation of their preparation.
  std::vector<std::uint64_t> changed;
  std::uint64_t generation = 1;
  bool is_shared = false;    ///< see share()
  bool is_unchecked = true;  ///< values were set since all were found to be finite

  float* value(int index) const { return at_offset<float>(values, index); }
  float* slot(int index, int number) const { return at_offset<float>(slots[static_cast<std::size_t>(number)], index); }
  float* gradient(int index) const { return at_offset<float>(gradients, index); }
  std::int64_t* counter(int index) const { return at_offset<std::int64_t>(values, index); }
  /// The bf16 copy of a trained parameter; null if the plan has none.
  std::uint16_t* bf16_copy(int index) const;

  /// @throws Error when the index is out of range.
  const Parameter& at(int index) const;
  /// Places all values and slots anew; the gradients are lost. @throws Error when a program is compiled for the present
  /// plan.
  void place(program::LayoutPlan layouts);
  /// Moves the values and their copies to memory that other processes of this host can map, in which the gradients will
  /// be, too. Slots that are allocated later take memory only where they are written. @throws Error when a program is
  /// compiled for the present plan.
  void share();
  /// Allocates an optimiser's slots, filled with zeros, unless there are slots of these names already.
  void require_slots(const std::vector<std::string>& names);
  /// Allocates the gradients' range.
  void require_gradients();
  /// Notes that the values of a parameter change.
  void touch(int index) { changed[static_cast<std::size_t>(index)] = ++generation; }
  /// The first parameter with a non-finite element; -1 if there is none.
  int find_not_finite() const;
  /// The values of a slot of a trained parameter in PyTorch's order, where this process has all of it.
  std::vector<float> get_slot(int index, int number) const;
  void set_slot(int index, int number, const std::vector<float>& elements);
  /// The elements of a range in PyTorch's order.
  std::vector<float> read(int index, const float* elements) const;
  /// The number of elements that a parameter of type f32 has in a range, those that pad its layout included.
  std::size_t stored_elements(int index) const;
  /// Writes elements, given in PyTorch's order, as a range has them. @throws Error when their number isn't the shape's.
  void write(int index, const std::vector<float>& elements, float* to) const;
  /// Writes elements, given in PyTorch's order, to a parameter's values; updates its bf16 copy.
  void write_value(int index, const std::vector<float>& elements);
  /// Bytes of all ranges; of the slots, of those elements that this process has.
  std::size_t bytes() const;

 private:
  template <class T>
  T* at_offset(const base::PageBuffer& range, int index) const {
    return reinterpret_cast<T*>(range.data() + stored[static_cast<std::size_t>(index)].offset * sizeof(float));
  }
  /// @throws Error unless the parameter has the slot.
  void require_slot(int index, int number) const;
};

namespace program {

/// The initial values of a graph's parameters, placed by a plan.
Parameters make_parameters(const Graph& graph, std::uint64_t seed, LayoutPlan plan);

/// Zeros in place of a graph's parameters, which are all to be set: drawing initial values takes longer than reading
/// them.
Parameters zero_parameters(const Graph& graph);

/// Gives all processes that train together the newest f32 values: of the parameters whose bf16 copies alone they have
/// given each other, and of the moving average, of which each process has its own parts. All processes call it when
/// GradientPolicy::wait() has returned in all.
/// @param average null: there is none.
void gather_updates(comm::BucketExchange& exchange, Parameters* average);

/// Sets all values of `to` to those of `from`, whatever their layouts.
/// @throws Error naming the first parameter that differs in name or shape, before which all have been set.
void copy_values(const Parameters& from, Parameters& to);

}  // namespace program
}  // namespace facet
