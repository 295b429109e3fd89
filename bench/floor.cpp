#include "floor.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/median.h"
#include "result.h"

namespace facet::bench {

using program::StepKind;

namespace {

/// What takes at least a thousandth of the step more than its fastest primitives, from the most down.
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
  for (std::size_t i = 0; i < profile.steps.size(); ++i) {
    const Work work = work_of(profile.steps[i]);
    floor.by_work[work].step += profile.seconds[i];
    floor.by_kind[std::string(to_string(work.kind))].step += profile.seconds[i];
  }
  for (const Primitive& primitive : floor.primitives) {
    if (primitive.work.kind == StepKind::reorder) continue;
    const double seconds = primitive.count * base::median(primitive.fastest().seconds);
    floor.by_work[primitive.work].floor += seconds;
    floor.by_kind[std::string(to_string(primitive.work.kind))].floor += seconds;
    floor.total.floor += seconds;
  }
  return floor;
}

void print_floor(const Floor& floor) {
  fmt::print("\n{:>9}  {:>9}  {:>5}  step against the sum of its fastest primitives, by kind\n", "ms", "floor",
             "ratio");
  for (const auto& [kind, share] : floor.by_kind) {
    fmt::print("{:9.2f}  {:9.2f}  {:5.2f}  {}\n", share.step * 1e3, share.floor * 1e3, ratio_or_0(share), kind);
  }
  fmt::print("{:9.2f}  {:9.2f}  {:5.2f}  step\n", floor.total.step * 1e3, floor.total.floor * 1e3, floor.ratio());
  const auto rest = over(floor);
  if (rest.empty()) return;
  fmt::print("\n{:>9}  over its fastest primitive\n", "ms");
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
    if (primitive.work.kind == StepKind::reorder) continue;
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
