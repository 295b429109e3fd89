#include "profile.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/median.h"
#include "result.h"

namespace facet::bench {

Profile profile(CompiledStep& step, int runs) {
  program::Program& program = step.program();
  Profile profile{program.instructions(), {}, {}, 0};
  std::vector<std::vector<double>> seconds(profile.instructions.size());
  program.profile(true);
  for (int run = 0; run < runs; ++run) {
    step.run();
    for (std::size_t i = 0; i < seconds.size(); ++i) seconds[i].push_back(program.instruction_seconds()[i]);
  }
  program.profile(false);
  for (std::size_t i = 0; i < profile.instructions.size(); ++i) {
    profile.seconds.push_back(base::median(std::move(seconds[i])));
    profile.by_kind[std::string(to_string(profile.instructions[i].kind))] += profile.seconds[i];
    profile.total += profile.seconds[i];
  }
  return profile;
}

void print_profile(const Profile& profile) {
  const auto& [instructions, seconds, by_kind, total] = profile;
  std::vector<std::size_t> order(instructions.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return profile.seconds[a] > profile.seconds[b]; });
  fmt::print("\n{:>9}  {:>5}  kind\n", "ms", "%");
  for (const auto& [kind, s] : by_kind) fmt::print("{:9.2f}  {:5.1f}  {}\n", s * 1e3, 100 * s / total, kind);
  fmt::print("{:9.2f}  100.0  sum\n\n{:>9}  instruction\n", total * 1e3, "ms");
  for (const std::size_t i : order) {
    if (seconds[i] < 1e-3 * total) break;
    fmt::print("{:9.2f}  {}  ({})\n", seconds[i] * 1e3, instructions[i].name, instructions[i].implementation);
  }
}

nlohmann::json profile_json(const Profile& profile) {
  nlohmann::json result{{"seconds", profile.total}, {"by_kind", profile.by_kind}};
  for (std::size_t i = 0; i < profile.instructions.size(); ++i) {
    const program::InstructionInfo& instruction = profile.instructions[i];
    result["instructions"].push_back({{"name", instruction.name},
                                      {"kind", to_string(instruction.kind)},
                                      {"implementation", instruction.implementation},
                                      {"seconds", profile.seconds[i]}});
  }
  return result;
}

nlohmann::json trace_json(const Profile& profile) {
  nlohmann::json events = nlohmann::json::array();
  double start = 0;
  for (std::size_t i = 0; i < profile.instructions.size(); ++i) {
    const program::InstructionInfo& instruction = profile.instructions[i];
    events.push_back({{"name", instruction.name},
                      {"cat", to_string(instruction.kind)},
                      {"ph", "X"},
                      {"ts", start * 1e6},
                      {"dur", profile.seconds[i] * 1e6},
                      {"pid", 0},
                      {"tid", 0},
                      {"args", {{"implementation", instruction.implementation}}}});
    start += profile.seconds[i];
  }
  return {{"traceEvents", events}, {"displayTimeUnit", "ms"}};
}

using program::InstructionKind;

namespace {

/// Returns the work whose time exceeds that of its fastest primitives by more than a thousandth of the step, with the
/// excess, in descending order.
std::vector<std::pair<Work, double>> over(const Floor& floor) {
  std::vector<std::pair<Work, double>> result;
  for (const auto& [work, share] : floor.by_work) {
    if (share.over() > 1e-3 * floor.total.step) result.emplace_back(work, share.over());
  }
  std::sort(result.begin(), result.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  return result;
}

double ratio_or_0(const Floor::Share& share) { return share.floor > 0 ? share.step / share.floor : 0; }

}  // namespace

Floor floor_of(std::vector<Primitive> primitives, const Profile& profile, double step_seconds) {
  Floor floor{.primitives = std::move(primitives), .total = {0, step_seconds}, .by_kind = {}, .by_work = {}};
  for (std::size_t i = 0; i < profile.instructions.size(); ++i) {
    const Work work = work_of(profile.instructions[i]);
    floor.by_work[work].step += profile.seconds[i];
    floor.by_kind[std::string(to_string(work.kind))].step += profile.seconds[i];
  }
  for (const Primitive& primitive : floor.primitives) {
    if (primitive.work.kind == InstructionKind::reorder) continue;
    const double seconds = primitive.count * base::median(primitive.fastest().seconds);
    floor.by_work[primitive.work].floor += seconds;
    floor.by_kind[std::string(to_string(primitive.work.kind))].floor += seconds;
    floor.total.floor += seconds;
  }
  return floor;
}

void print_floor(const Floor& floor) {
  fmt::print("\n{:>9}  {:>9}  {:>5}  step compared with the sum of its fastest primitives, by kind\n", "ms", "floor",
             "ratio");
  for (const auto& [kind, share] : floor.by_kind) {
    fmt::print("{:9.2f}  {:9.2f}  {:5.2f}  {}\n", share.step * 1e3, share.floor * 1e3, ratio_or_0(share), kind);
  }
  fmt::print("{:9.2f}  {:9.2f}  {:5.2f}  step\n", floor.total.step * 1e3, floor.total.floor * 1e3, floor.ratio());
  const auto rest = over(floor);
  if (rest.empty()) return;
  fmt::print("\n{:>9}  more than its fastest primitive\n", "ms");
  for (const auto& [work, seconds] : rest) {
    fmt::print("{:9.2f}  {}\n", seconds * 1e3, to_string(work));
  }
}

nlohmann::json floor_json(const Floor& floor) {
  using nlohmann::json;
  const auto share_json = [](const Floor::Share& share) {
    return json{{"seconds", share.floor}, {"step_seconds", share.step}, {"ratio", ratio_or_0(share)}};
  };
  json result = share_json(floor.total);
  for (const auto& [kind, share] : floor.by_kind) result["by_kind"][kind] = share_json(share);
  for (const Primitive& primitive : floor.primitives) {
    if (primitive.work.kind == InstructionKind::reorder) continue;
    const Way& fastest = primitive.fastest();
    result["primitives"].push_back({{"kind", to_string(primitive.work.kind)},
                                    {"work", primitive.work.text},
                                    {"part", primitive.work.part},
                                    {"count", primitive.count},
                                    {"candidate", fastest.candidate},
                                    {"implementation", fastest.implementation},
                                    {"seconds", base::median(fastest.seconds)}});
  }
  result["over"] = json::array();
  for (const auto& [work, seconds] : over(floor)) {
    result["over"].push_back(
        {{"kind", to_string(work.kind)}, {"work", work.text}, {"part", work.part}, {"seconds", seconds}});
  }
  return result;
}

}  // namespace facet::bench
