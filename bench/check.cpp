#include "check.h"

#include <fmt/format.h>

#include <fstream>
#include <utility>

#include "facet/error.h"

namespace facet::bench {

using nlohmann::json;

namespace {

constexpr double tolerance = 0.1;

const json::json_pointer step_to_floor("/floor/ratio"), share_of_peak("/share_of_peak");

/// Prints both; whether the later one isn't worse by more than the tolerance, of what is better when small.
bool compare(const char* name, double before, double now, double worse) {
  const bool good = worse <= 1 + tolerance;
  fmt::print("{}: {:.3f}, was {:.3f}: {}\n", name, now, before,
             good ? "good" : fmt::format("worse by {:.0f} %", 100 * (worse - 1)));
  return good;
}

}  // namespace

Check::Check(const std::filesystem::path& earlier) : file_(earlier.string()) {
  std::ifstream in(earlier);
  if (!in) throw Error(fmt::format("{}: can't be read", file_));
  earlier_ = json::parse(in, nullptr, false);
  for (const json::json_pointer& ratio : {step_to_floor, share_of_peak}) {
    if (!earlier_.is_object() || !earlier_.contains(ratio) || !earlier_.at(ratio).is_number() ||
        !(earlier_.at(ratio).get<double>() > 0)) {
      throw Error(fmt::format("{}: no number above 0 at {} found; the JSON of bench_training --profile is needed",
                              file_, ratio.to_string()));
    }
  }
}

void Check::require_comparable(const json& result) const {
  for (const char* name : {"/model", "/mode", "/precision", "/batch", "/size", "/threads", "/machine/cpu",
                           "/machine/instructions", "/machine/limit", "/tuned", "/save_memory"}) {
    const json::json_pointer member(name);
    const json before = earlier_.contains(member) ? earlier_.at(member) : json();
    if (before != result.at(member)) {
      throw Error(
          fmt::format("{}: {} is {} there and {} here; results of one workload on one kind of machine are needed",
                      file_, name, before.dump(), result.at(member).dump()));
    }
  }
}

bool Check::passes(const json& result) const {
  const auto both = [&](const json::json_pointer& ratio) {
    return std::pair{earlier_.at(ratio).get<double>(), result.at(ratio).get<double>()};
  };
  const auto [floor_before, floor_now] = both(step_to_floor);
  const auto [share_before, share_now] = both(share_of_peak);
  const bool floor_good = compare("step to floor", floor_before, floor_now, floor_now / floor_before);
  const bool share_good = compare("share of peak", share_before, share_now, share_before / share_now);
  return floor_good && share_good;
}

}  // namespace facet::bench
