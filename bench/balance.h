#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "program/tuning_record.h"
#include "workload.h"

/// How evenly a number of threads, which may exceed the cores, would share the loops of our own kernels.
namespace facet::bench {

/// A loop of one of our kernels (base::parallel_for), or what a kernel does outside of its loops, on one thread.
struct Loop {
  std::string instruction, implementation;
  int number = 0;            ///< of the instruction's loops, from 1; 0: outside of them
  std::int64_t pieces = 1;   ///< that run in parallel
  double seconds = 0;        ///< of all pieces, on one thread
  double longest = 0;        ///< of one piece
  double share = 0;          ///< of `longest` in Balance::step_seconds
  bool is_balanced = false;  ///< see Balance::loops

  double longest_over_mean() const { return seconds > 0 ? longest * static_cast<double>(pieces) / seconds : 1; }
};

struct Balance {
  int threads = 0;
  /// In descending order of `share`. A loop that takes more than 0.5 % of the step is balanced if it has a piece for
  /// each thread and the longest one takes at most 1.5 times the mean; a shorter one always is.
  std::vector<Loop> loops;
  /// Of the step, if each loop took its longest piece's time, and oneDNN's primitives were shared evenly.
  double step_seconds = 0;
  double ideal_seconds = 0;  ///< of the step, if all work were shared evenly
};

/// Compiles the workload's step for `threads` threads, with the candidates that its own number of threads chooses, and
/// runs it. Afterwards the workload has this number of threads.
/// @param warmup runs of the step before `runs` further ones, of which the shortest times count.
/// @throws Error when OpenMP provides fewer threads.
Balance measure_balance(Workload& workload, program::TuningRecord& tuning_record, int threads, int warmup, int runs);

/// Prints the loops that take a thousandth of the step or more.
void print_balance(const Balance& balance);
nlohmann::json balance_json(const Balance& balance);

}  // namespace facet::bench
