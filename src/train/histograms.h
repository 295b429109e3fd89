#pragma once

#include <cstdint>

#include "comm/communicator.h"
#include "facet/sinks.h"
#include "lowering/instruction.h"
#include "program/parameter_store.h"

namespace facet::train {

/// Collects the histograms of one step, see StepHistograms.
class HistogramCollector {
 public:
  /// @param parameters must outlive it.
  explicit HistogramCollector(const Parameters::State& parameters);

  /// What the step's batches are run with.
  lowering::UpdateHistograms* target() { return &own_; }
  /// The histograms of whole parameters; called on all ranks.
  StepHistograms result(std::int64_t step, comm::Communicator& group) const;

 private:
  const Parameters::State& parameters_;
  lowering::UpdateHistograms own_;  ///< of what this process updates
};

}  // namespace facet::train
