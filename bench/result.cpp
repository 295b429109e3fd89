#include "result.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "base/machine.h"
#include "base/median.h"
#include "base/topology.h"
#include "facet/error.h"
#include "facet/machine.h"
#include "facet/platform.h"
#include "facet/threads.h"
#include "onednn/onednn.h"

namespace facet::bench {

using nlohmann::json;

json spread(const std::vector<double>& values) {
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  const double middle = base::median(values);
  return {{"median", middle}, {"min", *min}, {"max", *max}, {"spread", (*max - *min) / middle}};
}

json size_json(ImageSize size) { return size.height == size.width ? json(size.height) : json(to_string(size)); }

json machine_json(const std::string& limit) {
  const double frequency = base::cpu_frequency_mhz();
  return {{"cpu", cpu_model()},
          {"cpu_isa", cpu_isa()},
          {"limit", limit},
          {"cores", usable_cores()},
          {"frequency_mhz", frequency > 0 ? json(frequency) : json()},
          {"last_level_cache_bytes", base::Topology::machine().last_level_cache_bytes()},
          {"huge_pages", {{"policy", base::huge_page_policy()}, {"bytes", base::huge_page_bytes()}}}};
}

json versions_json() { return {{"facet", version()}, {"onednn", onednn::version()}, {"compiler", __VERSION__}}; }

json result_json(const std::string& bench, const WorkloadOptions& o, const Graph& graph, int threads,
                 const program::TuningRecord& tuning_record) {
  return {{"framework", "facet"},
          {"bench", bench},
          {"model", o.model},
          {"parameters", graph.trainable_count()},
          {"mode", o.mode},
          {"precision", o.precision},
          {"batch", o.batch},
          {"size", size_json(o.size)},
          {"threads", threads},
          {"placement", placement(threads)},
          {"tuned", !o.no_tune},
          {"save_memory", o.save_memory},
          {"machine", machine_json(o.max_cpu_isa)},
          {"versions", versions_json()},
          {"choices", tuning_record.all()}};
}

json result_json(const std::string& bench, const Workload& workload, const program::TuningRecord& tuning_record) {
  return result_json(bench, workload.options(), workload.graph(), workload.threads(), tuning_record);
}

std::string title(const Workload& workload) {
  const WorkloadOptions& o = workload.options();
  return fmt::format("{} {} {} batch {} at {}, {} threads, {} ({})", o.model, o.mode, o.precision, o.batch,
                     to_string(o.size), workload.threads(), cpu_model(), onednn::version());
}

namespace {

constexpr double tolerance = 0.1;

const json::json_pointer step_to_floor("/floor/ratio"), share_of_peak("/share_of_peak");

/// Prints both values and returns whether the later one is good.
/// @param worse the factor by which it is worse; good up to 1 + tolerance.
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
  if (auto machine = earlier_.is_object() ? earlier_.find("machine") : earlier_.end();
      machine != earlier_.end() && machine->is_object() && machine->contains("instructions")) {
    (*machine)["cpu_isa"] = (*machine)["instructions"];  // the member's former name
  }
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
                           "/machine/cpu_isa", "/machine/limit", "/tuned", "/save_memory"}) {
    const json::json_pointer member(name);
    const json before = earlier_.contains(member) ? earlier_.at(member) : json();
    if (before != result.at(member)) {
      throw Error(fmt::format(
          "{}: {} is {} in that file and {} in this result; both must be of one workload on one kind of machine", file_,
          name, before.dump(), result.at(member).dump()));
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

namespace {

double rate(const json& result) { return result["images_per_s"]["median"].get<double>(); }

}  // namespace

void add_scaling(std::vector<json>& results) {
  for (json& result : results) {
    const double speed_up = rate(result) / rate(results.front());
    const double threads = result["threads"].get<double>() / results.front()["threads"].get<double>();
    result["speed_up"] = speed_up;
    result["efficiency"] = speed_up / threads;
  }
}

void print_scaling(const std::vector<json>& results) {
  fmt::print("\n{:>7}  {:>9}  {:>8}  {:>10}\n", "threads", "images/s", "speed-up", "efficiency");
  for (const json& result : results) {
    fmt::print("{:7}  {:9.2f}  {:8.2f}  {:9.0f}%\n", result["threads"].get<int>(), rate(result),
               result["speed_up"].get<double>(), 100 * result["efficiency"].get<double>());
  }
}

}  // namespace facet::bench
