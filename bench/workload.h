#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/memory.h"
#include "base/parallel.h"
#include "facet/graph.h"
#include "facet/parameters.h"
#include "facet/precision.h"
#include "optim/optimizer.h"
#include "options.h"
#include "program/choices.h"
#include "program/program.h"

namespace facet::bench {

/// A model, a batch of synthetic pixels and labels, and what its steps need; computes on the calling thread's team.
class Workload {
 public:
  /// Limits the process's instructions where the options say so. The graph must outlive it.
  Workload(const WorkloadOptions& options, const Graph& graph);

  const WorkloadOptions& options() const { return options_; }
  const Graph& graph() const { return graph_; }
  Precision precision() const { return precision_; }
  int threads() const { return threads_; }
  /// Computes on so many threads from now on, in fresh memory; before, on the first that the options ask for. Steps
  /// that were compiled before are not to be run any more.
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

/// A workload's step compiled by some choices, with parameters of its own, on the workload's arena.
class CompiledStep {
 public:
  CompiledStep(Workload& workload, program::Choices& choices);
  void run();
  program::Program& program() { return program_; }
  const program::Program& program() const { return program_; }

 private:
  Parameters parameters_;
  program::Program program_;
  program::RunInput input_;
};

/// The main of a bench executable: `parse` reads its command line and tells which workload is asked for, `run`
/// measures. Misuse exits 2 and a failure 1, each with one line that names the program; else what `run` returns.
int run_bench(const char* name, const std::function<WorkloadOptions()>& parse,
              const std::function<int(Workload&)>& run);

}  // namespace facet::bench
