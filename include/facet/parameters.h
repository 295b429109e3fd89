#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "facet/export.h"
#include "facet/graph.h"

namespace facet {

/// The values of a graph's parameters: f32 masters that training, evaluation and prediction share. How they lie in
/// memory is the programs' business; here they go in and out in PyTorch's order. They must outlive the programs that
/// were compiled with them (and may be moved meanwhile). Not thread-safe. Functions that take an index into list()
/// throw Error when there is none of that index; all throw Error when the parameters were moved from.
class FACET_EXPORT Parameters {
 public:
  /// Initialised as the graph says; a function of the seed and the names alone.
  Parameters(const Graph& graph, std::uint64_t seed);
  ~Parameters();
  Parameters(Parameters&&) noexcept;
  Parameters& operator=(Parameters&&) noexcept;

  const std::vector<Parameter>& list() const;
  /// Index of a parameter. @throws Error when there is none of that name.
  int find(std::string_view name) const;

  /// Elements in PyTorch's order; s64 parameters are converted.
  std::vector<float> get(int index) const;
  /// @throws Error naming the parameter when the count is not its shape's.
  void set(int index, const std::vector<float>& values);
  /// Of an s64 parameter (num_batches_tracked). @throws Error naming the parameter when it is none.
  std::int64_t get_counter(int index) const;
  void set_counter(int index, std::int64_t value);

  struct FACET_NO_EXPORT State;
  FACET_NO_EXPORT State& state();
  FACET_NO_EXPORT const State& state() const;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace facet
