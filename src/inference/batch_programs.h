#pragma once

#include <cstdint>
#include <list>

#include "base/memory.h"
#include "facet/graph.h"
#include "facet/parameters.h"
#include "program/choices.h"
#include "program/program.h"

namespace facet::inference {

/// Programs of a graph by batch size, compiled when they are first needed, over one arena; primitives are chosen as for
/// the first of them. Prepared weights (folded, transformed, reordered) that they have in common are held once. No more
/// than `capacity` are kept, since each may hold others: the one that was used least recently goes. What it is given
/// must outlive it.
class BatchPrograms {
 public:
  /// @param options of every program, but for the batch.
  BatchPrograms(const Graph& graph, Parameters& parameters, const program::ProgramOptions& options,
                program::Choices& choices, base::Arena& arena, std::size_t capacity);
  BatchPrograms(const BatchPrograms&) = delete;
  BatchPrograms& operator=(const BatchPrograms&) = delete;

  /// The program for `batch` images, bound to the arena. Call inside a base::ComputeScope.
  /// @throws Error when memory doesn't suffice.
  program::Program& get(std::int64_t batch);
  /// Compiles the program for `batch` images without touching the arena, so that its memory can be known before.
  const program::Program& plan(std::int64_t batch);

  /// Bytes that the programs hold beside the arena, those that they share counted once.
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
  program::Choices& choices_;
  base::Arena& arena_;
  std::size_t capacity_;
  program::PreparedMemory prepared_;  ///< outlives the programs
  std::list<Entry> programs_;         ///< the most recently used first
};

}  // namespace facet::inference
