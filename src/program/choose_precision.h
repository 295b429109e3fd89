#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "facet/graph.h"
#include "facet/precision.h"
#include "program/program.h"
#include "program/tuning_record.h"

namespace facet::program {

struct ChosenPrecision {
  Precision precision = Precision::f32;
  std::string note = {};  ///< one line on what was measured; empty when nothing was
  bool measured = false;  ///< both precisions were measured, so the choice may be remembered
};

/// Whether the primitives of a trial are timed and the fastest chosen, or oneDNN's defaults run where none is recorded.
enum class Tuning : std::uint8_t { none, full };

/// Returns the seconds that a batch takes in a precision; may throw Error.
using TimedBatch = std::function<double(Precision, Tuning)>;

/// Resolves a choice for this machine: `automatic` gives f32 where bf16 isn't native, elsewhere the result of
/// choose_faster().
/// @throws Error when bf16 is requested but not native here, when `choice` is not a value of PrecisionChoice, or as
/// choose_faster() does.
ChosenPrecision choose_precision(PrecisionChoice choice, Tuning tuning, const TimedBatch& seconds);

/// Measures both precisions and chooses the faster one; bf16 must win by 5 % to pay for its rounding. Tuning takes most
/// of the time, and is taken to make a batch at most twice as fast. So both precisions are measured without it first,
/// bf16 before f32, because it takes less memory. The faster one is tuned, and the other one only where a batch takes
/// less than twice the tuned one's time. With Tuning::none nothing is tuned. Where one measurement throws Error, for
/// lack of memory for example, the other precision is chosen.
/// @throws Error with both messages when both measurements throw.
ChosenPrecision choose_faster(Tuning tuning, const TimedBatch& seconds);

/// The key under which the measured choice for a model is remembered. It contains everything of the model, batch size
/// and threads that the choice depends on.
/// @param model the model's name.
/// @param shape see ModelInfo::shape.
std::string measured_precision_key(std::string_view model, std::string_view shape, const Graph& graph,
                                   std::int64_t batch, int threads);

/// Seconds of a training step of this process alone, the fastest of a few, which run on temporary parameters and
/// memory. Call inside a base::ComputeScope.
/// @param tuning_record receives the candidates that tuning chooses.
double step_seconds(const Graph& graph, const program::ProgramOptions& options, program::TuningRecord& tuning_record);

}  // namespace facet::program
