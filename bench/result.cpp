#include "result.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/machine.h"
#include "base/machine_facts.h"
#include "base/median.h"
#include "base/pinning.h"
#include "facet/version.h"
#include "onednn/onednn.h"

namespace facet::bench {

using nlohmann::json;

json spread(const std::vector<double>& values) {
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  const double middle = base::median(values);
  return {{"median", middle}, {"min", *min}, {"max", *max}, {"spread", (*max - *min) / middle}};
}

namespace {

json machine_json(const std::string& limit) {
  const double frequency = base::cpu_frequency_mhz();
  return {{"cpu", base::cpu_model()},
          {"instructions", base::cpu_instructions()},
          {"limit", limit},
          {"cores", base::usable_cores()},
          {"frequency_mhz", frequency > 0 ? json(frequency) : json()},
          {"last_level_cache_bytes", base::last_level_cache_bytes()},
          {"huge_pages", {{"policy", base::huge_page_policy()}, {"bytes", base::huge_page_bytes()}}}};
}

}  // namespace

json result_json(const std::string& bench, const Workload& workload, const program::Choices& choices) {
  const WorkloadOptions& o = workload.options();
  return {{"framework", "facet"},
          {"bench", bench},
          {"model", o.model},
          {"parameters", workload.graph().trainable_count()},
          {"mode", o.mode},
          {"precision", o.precision},
          {"batch", o.batch},
          {"size", o.size},
          {"threads", workload.threads()},
          {"placement", base::placement(workload.threads())},
          {"tuned", !o.no_tune},
          {"save_memory", o.save_memory},
          {"machine", machine_json(o.instructions)},
          {"versions", {{"facet", version()}, {"onednn", onednn::version()}, {"compiler", __VERSION__}}},
          {"choices", choices.all()}};
}

std::string title(const Workload& workload) {
  const WorkloadOptions& o = workload.options();
  return fmt::format("{} {} {} batch {} at {}x{}, {} threads, {} ({})", o.model, o.mode, o.precision, o.batch, o.size,
                     o.size, workload.threads(), base::cpu_model(), onednn::version());
}

}  // namespace facet::bench
