#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "program/program.h"
#include "workload.h"

/// Where a step's time goes.
namespace facet::bench {

/// A step that was run some more times, each of its parts timed: medians.
struct Profile {
  std::vector<program::StepInfo> steps;
  std::vector<double> seconds;  ///< by step
  std::map<std::string, double> by_kind;
  double total = 0;
};

Profile profile(CompiledStep& step, int runs);

/// Time by kind, and by step from the longest down.
void print_profile(const Profile& profile);
nlohmann::json profile_json(const Profile& profile);
/// The step as Chrome's and Perfetto's trace viewers read it: complete events, in microseconds.
nlohmann::json trace_json(const Profile& profile);

}  // namespace facet::bench
