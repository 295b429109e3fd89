#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "facet/process_group.h"

/// Times the sum of f32 over all ranks, facet's own and those of MPI, by the size of the message.
namespace facet::bench {

/// Implementations of the sum.
enum class SumFunction { facet, mpi, mpi_nonblocking };
inline constexpr std::array sum_functions{SumFunction::facet, SumFunction::mpi, SumFunction::mpi_nonblocking};

/// Returns "facet", "MPI_Allreduce" or "MPI_Iallreduce".
const char* name_of(SumFunction function);

/// What is measured: messages of these sizes, each of which holds a whole number of f32.
struct SumOptions {
  std::vector<std::size_t> bytes;
  int warmup = 5, iterations = 20;
};

/// The times of one size.
struct SumTimes {
  std::size_t bytes = 0;
  /// Seconds of each iteration, by function: those of the slowest rank. The same on all ranks.
  std::array<std::vector<double>, sum_functions.size()> seconds;

  /// Returns the median of an implementation.
  double median(SumFunction function) const;
  /// Returns the faster one of MPI's.
  SumFunction best_of_mpi() const;
  /// Returns the time of the faster one of MPI's over that of an implementation: above 1, this one is faster.
  double ratio(SumFunction function) const;
  /// Returns the bus bandwidth of an implementation that takes `time` seconds, in bytes/s, as nccl-tests define it: the
  /// bytes that each rank must at least send, 2 (n - 1) / n of the message with n ranks, over the time.
  double bus_bandwidth(double time, int ranks) const;
};

/// Times sums on the threads of the current base::ComputeScope. All ranks call it together.
class SumBench {
 public:
  /// Allocates a message of the largest size, in memory like that of the gradients in training.
  SumBench(const ProcessGroup& ranks, const SumOptions& options);
  ~SumBench();
  SumBench(const SumBench&) = delete;
  SumBench& operator=(const SumBench&) = delete;

  /// Checks the sums of one size once and times them. The implementations take turns within each iteration, which
  /// begins when all ranks are there. @throws Error when a sum is wrong.
  SumTimes measure(std::size_t bytes);

 private:
  struct Message;

  void sum(SumFunction function, std::size_t values);
  void require_right(SumFunction function, std::size_t values);

  ProcessGroup ranks_;
  SumOptions options_;
  std::unique_ptr<Message> message_;
};

/// Returns a number of bytes in the largest unit that gives a whole number: "16 MiB".
std::string bytes_text(std::size_t bytes);

void print_sum_header();
void print_sum(const SumTimes& times, int ranks);

/// Returns one result for each implementation.
/// @param common the members that all results share.
std::vector<nlohmann::json> sum_json(const SumTimes& times, int ranks, const nlohmann::json& common);

}  // namespace facet::bench
