#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "facet/export.h"
#include "facet/graph.h"

namespace facet {

/// The values of a graph's parameters: f32 master values that training, evaluation and prediction share. Their order in
/// memory is the one that training needs; get() and set() use PyTorch's order of elements. Parameters must outlive the
/// programs that were compiled with them, but may be moved in the meantime. Not thread-safe. Functions that take an
/// index into list() throw Error when the index is out of range; all functions throw Error when the parameters were
/// moved from.
class FACET_EXPORT Parameters {
 public:
  /// Initialises the values as the graph specifies. They depend only on the graph's parameters, their names and the
  /// seed.
  Parameters(const Graph& graph, std::uint64_t seed);
  ~Parameters();
  Parameters(Parameters&&) noexcept;
  Parameters& operator=(Parameters&&) noexcept;

  const std::vector<Parameter>& list() const;
  /// Returns the index of a parameter. @throws Error when no parameter has that name.
  int find(std::string_view name) const;

  /// Returns the elements in PyTorch's order; s64 parameters are converted.
  std::vector<float> get(int index) const;
  /// Sets all elements, given in PyTorch's order.
  /// @throws Error naming the parameter when the number of values doesn't match its shape.
  void set(int index, const std::vector<float>& values);
  /// Returns the value of an s64 parameter (num_batches_tracked).
  /// @throws Error naming the parameter when it isn't s64.
  std::int64_t get_counter(int index) const;
  /// Sets the value of an s64 parameter. @throws Error as get_counter does.
  void set_counter(int index, std::int64_t value);

  struct FACET_NO_EXPORT State;
  FACET_NO_EXPORT explicit Parameters(std::unique_ptr<State> state);
  FACET_NO_EXPORT State& state();
  FACET_NO_EXPORT const State& state() const;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace facet
