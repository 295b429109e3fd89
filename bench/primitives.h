#pragma once

#include <compare>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "peak.h"
#include "program/choices.h"
#include "program/program.h"
#include "workload.h"

/// The primitives that a step is made of, each timed alone: in its place in the step, on its data there, after its
/// operands were taken out of the caches.
namespace facet::bench {

/// What is computed, by whatever means; equal for steps that do the same work.
struct Work {
  program::StepKind kind;
  std::string part;  ///< forward, statistics, ...; empty where the text says it
  std::string text;  ///< convolution 64x56x56 by 64x64x3x3 to 64x56x56

  auto operator<=>(const Work&) const = default;
};

/// The work that a step does or, of a convolution, has a part in: what a candidate makes of the weights and, in
/// inference, its residual's add count to the direction that needs them.
Work work_of(const program::StepInfo& step);
/// "convolution 64x56x56 by 64x64x3x3 to 64x56x56, forward"
std::string to_string(const Work& work);

/// One way to do it.
struct Way {
  std::string candidate;  ///< empty where there is one way only
  std::string implementation;
  bool chosen;                  ///< by the measured choice, for at least one of the places where the work is done
  std::int64_t bytes;           ///< that must be moved
  std::vector<double> seconds;  ///< of each run, in each place
};

struct Primitive {
  Work work;
  int count = 0;     ///< places in the step
  double flops = 0;  ///< of one; 0 for what is no convolution or linear layer
  std::vector<Way> ways;

  const Way& fastest() const;  ///< by the median
};

/// Times all steps of `step`, which `choices` made, then those that the other candidates lead to: the step is compiled
/// anew until each had its turn. In the order of the steps, equal ones together.
std::vector<Primitive> measure_primitives(Workload& workload, CompiledStep& step, const program::Choices& choices,
                                          int runs);

void print_primitives(const std::vector<Primitive>& primitives, const Peak& peak, Precision precision);
nlohmann::json primitives_json(const std::vector<Primitive>& primitives, const Peak& peak, Precision precision);

}  // namespace facet::bench
