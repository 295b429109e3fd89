#include "profile.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/median.h"
#include "result.h"

namespace facet::bench {

Profile profile(CompiledStep& step, int runs) {
  program::Program& program = step.program();
  Profile profile{program.steps(), {}, {}, 0};
  std::vector<std::vector<double>> seconds(profile.steps.size());
  program.profile(true);
  for (int run = 0; run < runs; ++run) {
    step.run();
    for (std::size_t i = 0; i < seconds.size(); ++i) seconds[i].push_back(program.step_seconds()[i]);
  }
  program.profile(false);
  for (std::size_t i = 0; i < profile.steps.size(); ++i) {
    profile.seconds.push_back(base::median(std::move(seconds[i])));
    profile.by_kind[std::string(to_string(profile.steps[i].kind))] += profile.seconds[i];
    profile.total += profile.seconds[i];
  }
  return profile;
}

void print_profile(const Profile& profile) {
  const auto& [steps, seconds, by_kind, total] = profile;
  std::vector<std::size_t> order(steps.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return profile.seconds[a] > profile.seconds[b]; });
  fmt::print("\n{:>9}  {:>5}  kind\n", "ms", "%");
  for (const auto& [kind, s] : by_kind) fmt::print("{:9.2f}  {:5.1f}  {}\n", s * 1e3, 100 * s / total, kind);
  fmt::print("{:9.2f}  100.0  sum\n\n{:>9}  step\n", total * 1e3, "ms");
  for (const std::size_t i : order) {
    if (seconds[i] < 1e-3 * total) break;
    fmt::print("{:9.2f}  {}  ({})\n", seconds[i] * 1e3, steps[i].name, steps[i].implementation);
  }
}

nlohmann::json profile_json(const Profile& profile) {
  nlohmann::json json{{"seconds", profile.total}, {"by_kind", profile.by_kind}};
  for (std::size_t i = 0; i < profile.steps.size(); ++i) {
    const program::StepInfo& step = profile.steps[i];
    json["steps"].push_back({{"name", step.name},
                             {"kind", to_string(step.kind)},
                             {"implementation", step.implementation},
                             {"seconds", profile.seconds[i]}});
  }
  return json;
}

nlohmann::json trace_json(const Profile& profile) {
  nlohmann::json events = nlohmann::json::array();
  double start = 0;
  for (std::size_t i = 0; i < profile.steps.size(); ++i) {
    const program::StepInfo& step = profile.steps[i];
    events.push_back({{"name", step.name},
                      {"cat", to_string(step.kind)},
                      {"ph", "X"},
                      {"ts", start * 1e6},
                      {"dur", profile.seconds[i] * 1e6},
                      {"pid", 0},
                      {"tid", 0},
                      {"args", {{"implementation", step.implementation}}}});
    start += profile.seconds[i];
  }
  return {{"traceEvents", events}, {"displayTimeUnit", "ms"}};
}

}  // namespace facet::bench
