#pragma once

#include <cstdint>
#include <list>

#include "base/memory.h"
#include "facet/graph.h"
#include "facet/parameters.h"
#include "program/program.h"
#include "program/tuning_record.h"

namespace facet::program {

/// Keeps the programs of one graph by batch size. Each is compiled when it is first needed, and all run on one arena.
/// For a batch size without entries in the tuning record, the primitives that were chosen for the first program's are
/// used. Prepared weights (folded, transformed, reordered) that several programs need are held once. At most `capacity`
/// programs are kept, because each may hold weights of its own: the least recently used one is dropped. The objects
/// passed to the constructor must outlive it.
class BatchPrograms {
 public:
  /// @param options apply to every program, except the batch size.
  BatchPrograms(const Graph& graph, Parameters& parameters, const program::ProgramOptions& options,
                program::TuningRecord& tuning_record, base::Arena& arena, std::size_t capacity);
  BatchPrograms(const BatchPrograms&) = delete;
  BatchPrograms& operator=(const BatchPrograms&) = delete;

  /// Returns the program for `batch` images, bound to the arena. Call inside a base::ComputeScope.
  /// @throws Error when there is not enough memory.
  program::Program& get(std::int64_t batch);
  /// Compiles the program for `batch` images without touching the arena, so that its memory is known before it is used.
  const program::Program& plan(std::int64_t batch);

  /// Bytes of prepared weights that the programs hold in addition to the arena; shared memory counts once.
  std::size_t held_bytes() const;

 private:
  struct Entry {
    program::Program program;
    bool bound = false;
  };
  Entry& compiled(std::int64_t batch);

  const Graph& graph_;
  Parameters& parameters_;
  program::ProgramOptions options_;
  program::TuningRecord& tuning_record_;
  base::Arena& arena_;
  std::size_t capacity_;
  program::PreparedMemory prepared_;  ///< outlives the programs
  std::list<Entry> programs_;         ///< the most recently used first
};

}  // namespace facet::program
