#include "scaling.h"

#include <fmt/core.h>

namespace facet::bench {

using nlohmann::json;

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
