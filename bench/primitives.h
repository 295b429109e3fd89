#pragma once

#include <compare>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "peak.h"
#include "program/program.h"
#include "program/tuning_record.h"
#include "workload.h"

/// Times each primitive of a step alone: in its place in the step and on its data there, after its operands were
/// evicted from the caches.
namespace facet::bench {

/// A computation, independent of its implementation; equal for instructions that compute the same.
struct Work {
  program::InstructionKind kind;
  std::string part;  ///< forward, statistics, ...; empty if `text` includes it
  std::string text;  ///< convolution 64x56x56 by 64x64x3x3 to 64x56x56

  auto operator<=>(const Work&) const = default;
};

/// Returns the work that an instruction does. Instructions that support a convolution count as part of its work: a
/// candidate's transform of the weights and, in inference, the add of the residual belong to the direction that needs
/// them.
Work work_of(const program::InstructionInfo& instruction);
/// Returns a text such as "convolution 64x56x56 by 64x64x3x3 to 64x56x56, forward".
std::string to_string(const Work& work);

/// One implementation of a work, with its measured times.
struct Way {
  std::string candidate;  ///< empty if the work has no candidates
  std::string implementation;
  bool chosen;                  ///< whether the tuning record chose it in at least one place
  std::int64_t bytes;           ///< bytes that must be moved
  std::vector<double> seconds;  ///< of each run, in each place
};

struct Primitive {
  Work work;
  int count = 0;     ///< places in the step
  double flops = 0;  ///< FLOP in one place; 0 unless it is a convolution or linear layer
  std::vector<Way> ways;

  const Way& fastest() const;  ///< the way with the smallest median
};

/// Times all instructions of `step`, which was compiled with `tuning_record`. Then it compiles the step again with
/// other candidates, until each candidate has been timed. Results are in the order of the instructions, with equal work
/// combined.
std::vector<Primitive> measure_primitives(Workload& workload, CompiledStep& step,
                                          const program::TuningRecord& tuning_record, int runs);

void print_primitives(const std::vector<Primitive>& primitives, const Peak& peak, Precision precision);
nlohmann::json primitives_json(const std::vector<Primitive>& primitives, const Peak& peak, Precision precision);

}  // namespace facet::bench
