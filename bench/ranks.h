#pragma once

#include <functional>
#include <string>
#include <vector>

#include "facet/process_group.h"

/// Bench executables that a launcher such as mpirun starts in several processes.
namespace facet::bench {

/// The main function of such an executable, which joins the ranks; without a launcher this process is the only one.
/// Rank 0 alone prints, and what all ranks fail with is printed once. `parse` reads the command line, on all ranks
/// within one ProcessGroup::together(); `run` measures.
/// @return 2 where `parse` throws and 1 where something else does, each with a one-line message that names the program;
///   otherwise 0.
int run_on_ranks(const char* name, const std::function<void(const ProcessGroup&)>& parse,
                 const std::function<void(const ProcessGroup&)>& run);

/// Returns the number of hosts on which the ranks run. All ranks call it together.
int count_hosts(const ProcessGroup& ranks);

/// Returns the greatest of the ranks' values, by index. All ranks call it together, with as many values.
std::vector<double> slowest_of(const ProcessGroup& ranks, const std::vector<double>& seconds);

/// Returns a text such as "4 ranks on 1 host".
std::string ranks_text(int ranks, int hosts);

}  // namespace facet::bench
