#include "balance.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <numeric>
#include <span>

#include "base/parallel.h"
#include "facet/error.h"
#include "profile.h"

namespace facet::bench {

namespace {

/// The shortest times of an instruction over several runs: of each piece of each loop, and outside of the loops.
struct Times {
  std::vector<std::vector<double>> loops;
  double outside = std::numeric_limits<double>::infinity();

  void take_shorter(const Times& run) {
    if (loops.empty()) loops = run.loops;
    outside = std::min(outside, run.outside);
    for (std::size_t i = 0; i < loops.size(); ++i) {
      std::ranges::transform(loops[i], run.loops.at(i), loops[i].begin(),
                             [](double a, double b) { return std::min(a, b); });
    }
  }
};

/// Runs the step once; returns the times of each instruction.
std::vector<Times> run_timed(CompiledStep& step) {
  program::Program& program = step.program();
  std::vector<Times> times(program.instructions().size());
  std::vector<double> in_loops(times.size());
  std::size_t current = 0;
  program.profile(true, [&](std::size_t instruction, auto) { current = instruction; });
  {
    const base::LoopTiming timing([&](std::span<const double> pieces, double seconds) {
      in_loops[current] +=
          seconds + seconds_of([&] { times[current].loops.emplace_back(pieces.begin(), pieces.end()); });
    });
    step.run();
  }
  for (std::size_t i = 0; i < times.size(); ++i) {
    times[i].outside = std::max(program.instruction_seconds()[i] - in_loops[i], 0.0);
  }
  program.profile(false);
  return times;
}

Loop loop_of(const program::InstructionInfo& info, int number, const std::vector<double>& pieces) {
  return {.instruction = info.name,
          .implementation = info.implementation,
          .number = number,
          .pieces = std::ssize(pieces),
          .seconds = std::accumulate(pieces.begin(), pieces.end(), 0.0),
          .longest = *std::max_element(pieces.begin(), pieces.end())};
}

bool is_ours(const program::InstructionInfo& info) { return info.implementation.starts_with("facet:"); }

/// The time of all threads together in oneDNN's primitives, in a step of the workload's own number of threads.
double primitive_seconds(Workload& workload, program::TuningRecord& tuning_record, int warmup, int runs) {
  CompiledStep step(workload, tuning_record);
  for (int i = 0; i < warmup; ++i) step.run();
  const Profile measured = profile(step, runs);
  double seconds = 0;
  for (std::size_t i = 0; i < measured.instructions.size(); ++i) {
    if (!is_ours(measured.instructions[i])) seconds += measured.seconds[i] * workload.threads();
  }
  return seconds;
}

}  // namespace

Balance measure_balance(Workload& workload, program::TuningRecord& tuning_record, int threads, int warmup, int runs) {
  const int own_threads = workload.threads();
  const double primitives = primitive_seconds(workload, tuning_record, warmup, runs) / threads;
  workload.use_threads(threads);
  if (const int found = base::current_threads(); found != threads)
    throw Error(fmt::format("--balance is {}; OpenMP provides {} threads (OMP_THREAD_LIMIT?)", threads, found));
  program::TuningRecord same_choices = tuning_record.for_threads(own_threads, threads);
  CompiledStep step(workload, same_choices);
  for (int i = 0; i < warmup; ++i) step.run();
  const std::vector<program::InstructionInfo> instructions = step.program().instructions();
  std::vector<Times> times(instructions.size());
  for (int run = 0; run < runs; ++run) {
    const std::vector<Times> found = run_timed(step);
    for (std::size_t i = 0; i < times.size(); ++i) times[i].take_shorter(found[i]);
  }

  Balance balance{.threads = threads, .loops = {}, .step_seconds = primitives, .ideal_seconds = primitives};
  for (std::size_t i = 0; i < instructions.size(); ++i) {
    if (!is_ours(instructions[i])) continue;
    balance.loops.push_back(loop_of(instructions[i], 0, {times[i].outside}));
    for (std::size_t k = 0; k < times[i].loops.size(); ++k) {
      balance.loops.push_back(loop_of(instructions[i], static_cast<int>(k) + 1, times[i].loops[k]));
    }
  }
  for (const Loop& loop : balance.loops) {
    balance.step_seconds += loop.longest;
    balance.ideal_seconds += loop.seconds / threads;
  }
  for (Loop& loop : balance.loops) {
    loop.share = loop.longest / balance.step_seconds;
    loop.is_balanced = loop.share <= 0.005 || (loop.pieces >= threads && loop.longest_over_mean() <= 1.5);
  }
  std::ranges::stable_sort(balance.loops, std::ranges::greater(), &Loop::share);
  return balance;
}

void print_balance(const Balance& balance) {
  fmt::print("\n{:>6}  {:>9}  {:>6}  {:>12}  loop on {} threads (!: shared unevenly)\n", "%", "us", "pieces",
             "longest/mean", balance.threads);
  for (const Loop& loop : balance.loops) {
    if (loop.share < 1e-3) break;
    fmt::print("{:6.2f}  {:9.1f}  {:6}  {:12.2f}{} {} ({}, {})\n", 100 * loop.share, loop.longest * 1e6, loop.pieces,
               loop.longest_over_mean(), loop.is_balanced ? " " : "!", loop.instruction, loop.implementation,
               loop.number == 0 ? "outside of loops" : fmt::format("loop {}", loop.number));
  }
  fmt::print("\nstep on {} threads: {:.2f} ms; {:.2f} ms if all work were shared evenly\n", balance.threads,
             balance.step_seconds * 1e3, balance.ideal_seconds * 1e3);
}

nlohmann::json balance_json(const Balance& balance) {
  nlohmann::json result{{"threads", balance.threads},
                        {"step_seconds", balance.step_seconds},
                        {"ideal_seconds", balance.ideal_seconds},
                        {"loops", nlohmann::json::array()}};
  for (const Loop& loop : balance.loops) {
    result["loops"].push_back({{"instruction", loop.instruction},
                               {"implementation", loop.implementation},
                               {"loop", loop.number},
                               {"pieces", loop.pieces},
                               {"seconds", loop.seconds},
                               {"longest", loop.longest},
                               {"share", loop.share},
                               {"balanced", loop.is_balanced}});
  }
  return result;
}

}  // namespace facet::bench
