#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "primitives.h"
#include "program/program.h"
#include "workload.h"

/// Profiles of a step: the time of its instructions, and their distance from the fastest primitives.
namespace facet::bench {

/// The median time of each instruction over several profiled runs of a step.
struct Profile {
  std::vector<program::InstructionInfo> instructions;
  std::vector<double> seconds;  ///< by instruction
  std::map<std::string, double> by_kind;
  double total = 0;
};

Profile profile(CompiledStep& step, int runs);

/// Prints the time by kind, and by instruction in descending order.
void print_profile(const Profile& profile);
nlohmann::json profile_json(const Profile& profile);
/// Returns the step in the trace format of Chrome and Perfetto: complete events, in microseconds.
nlohmann::json trace_json(const Profile& profile);

/// The floor of a step, which is the sum of its fastest primitives without reorders, and the step's time relative to
/// it.
struct Floor {
  /// The times of one kind of instructions, or of one primitive in all its places.
  struct Share {
    double floor = 0, step = 0;  ///< seconds
    double over() const { return step - floor; }
  };

  std::vector<Primitive> primitives;
  Share total;  ///< `step` is the time without profiling
  std::map<std::string, Share> by_kind;
  std::map<Work, Share> by_work;

  double ratio() const { return total.step / total.floor; }
};

/// @param step_seconds the time of the step without profiling.
Floor floor_of(std::vector<Primitive> primitives, const Profile& profile, double step_seconds);

void print_floor(const Floor& floor);
nlohmann::json floor_json(const Floor& floor);

}  // namespace facet::bench
