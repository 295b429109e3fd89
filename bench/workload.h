#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/memory.h"
#include "base/parallel.h"
#include "facet/dataset.h"
#include "facet/graph.h"
#include "facet/parameters.h"
#include "facet/precision.h"
#include "optim/optimizer.h"
#include "options.h"
#include "program/program.h"
#include "program/tuning_record.h"

namespace facet::bench {

/// Returns the seconds that `work` takes.
template <class Work>
double seconds_of(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Returns the heads of the models that are measured: those of FairFace, with 9, 2 and 7 classes.
std::vector<Head> fairface_heads();

/// A model, a batch of synthetic pixels and labels, and the optimiser and memory of its steps. It computes with the
/// calling thread's team.
class Workload {
 public:
  /// Limits the process's CPU ISA if the options request it. The graph must outlive the workload.
  Workload(const WorkloadOptions& options, const Graph& graph);

  const WorkloadOptions& options() const { return options_; }
  const Graph& graph() const { return graph_; }
  Precision precision() const { return precision_; }
  int threads() const { return threads_; }
  /// Sets the number of compute threads and allocates new memory. The initial number is the first of the options. Steps
  /// that were compiled before must not be run any more.
  void use_threads(int threads);
  program::ProgramOptions program_options() const;
  program::RunInput input() const;
  base::Arena& arena() { return *arena_; }

 private:
  WorkloadOptions options_;
  const Graph& graph_;
  Precision precision_;
  int threads_ = 0;
  std::optional<base::ComputeScope> compute_;
  std::vector<std::uint8_t> pixels_;
  std::vector<std::int32_t> labels_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::optional<base::Arena> arena_;
};

/// A step of a workload, compiled with a tuning record. It has its own parameters and uses the workload's arena.
class CompiledStep {
 public:
  CompiledStep(Workload& workload, program::TuningRecord& tuning_record);
  void run();
  program::Program& program() { return program_; }
  const program::Program& program() const { return program_; }

 private:
  Parameters parameters_;
  program::Program program_;
  program::RunInput input_;
};

/// The main function of a bench executable: `parse` reads the command line and returns the requested workload, `run`
/// measures. It returns 2 for an invalid command line and 1 for a failure, each with a one-line message that names the
/// program; otherwise the result of `run`.
int run_bench(const char* name, const std::function<WorkloadOptions()>& parse,
              const std::function<int(Workload&)>& run);

}  // namespace facet::bench
