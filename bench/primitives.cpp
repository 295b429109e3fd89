#include "primitives.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/median.h"
#include "eviction.h"
#include "result.h"

namespace facet::bench {

using program::StepInfo;
using program::StepKind;

Work work_of(const StepInfo& step) {
  const std::string part = step.name.substr(step.name.rfind('.') + 1);
  if (!step.candidate.empty()) {
    if (step.kind == StepKind::convolution_backward_data) return {step.kind, "backward_data", step.work};
    if (step.kind == StepKind::convolution_backward_weights) return {step.kind, "backward_weights", step.work};
    // What is done to the gradient of the weights, or of the bias, is a part of that work.
    if (part.find("gradient") != std::string::npos) {
      return {StepKind::convolution_backward_weights, "backward_weights", step.work};
    }
    return {StepKind::convolution_forward, "forward", step.work};
  }
  return {step.kind, step.work.starts_with(part) ? "" : part, step.work};
}

std::string to_string(const Work& work) {
  return work.part.empty() ? work.text : fmt::format("{}, {}", work.text, work.part);
}

const Way& Primitive::fastest() const {
  return *std::min_element(ways.begin(), ways.end(), [](const Way& a, const Way& b) {
    return base::median(a.seconds) < base::median(b.seconds);
  });
}

namespace {

/// A step, or those of one convolution that do one work.
struct Place {
  Work work;
  std::string candidate, implementation;
  double flops = 0;
  std::int64_t bytes = 0;
  std::vector<std::size_t> steps;
};

std::vector<Place> places_of(const std::vector<StepInfo>& steps) {
  std::vector<Place> places;
  std::map<std::pair<std::string, Work>, std::size_t> index;  // by node and work
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const StepInfo& step = steps[i];
    const Work work = work_of(step);
    const std::string node = step.name.substr(0, step.name.rfind('.'));
    const auto [found, is_new] = index.try_emplace({node, work}, places.size());
    if (is_new || step.candidate.empty()) {
      found->second = places.size();
      places.push_back({.work = work, .candidate = step.candidate, .implementation = {}, .steps = {}});
    }
    Place& place = places[found->second];
    if (place.implementation.empty() || step.flops > 0) place.implementation = step.implementation;
    place.flops += step.flops;
    place.bytes += step.bytes;
    place.steps.push_back(i);
  }
  return places;
}

class Measurement {
 public:
  explicit Measurement(int runs) : runs_(runs) {}

  /// Times what no step before has done in its way.
  void add(CompiledStep& step, bool chosen) {
    std::vector<Place> places = places_of(step.program().steps());
    std::erase_if(places, [&](const Place& place) {
      return !chosen && (place.candidate.empty() || !known(place) || find_way(place) != nullptr);
    });
    if (places.empty()) return;
    if (chosen) count(places);
    for (const Place& place : places) {
      if (find_way(place) == nullptr) {
        at(place).ways.push_back({place.candidate, place.implementation, chosen, place.bytes, {}});
      }
    }
    step.run();  // pays for what only a first run does
    for (int run = 0; run < runs_; ++run) time(step, places);
  }

  std::vector<Primitive> take() { return std::move(primitives_); }

 private:
  bool known(const Place& place) const { return index_.count(place.work) > 0; }
  Primitive& at(const Place& place) { return primitives_[index_.at(place.work)]; }

  Way* find_way(const Place& place) {
    if (!known(place)) return nullptr;
    for (Way& way : at(place).ways) {
      if (way.candidate == place.candidate && way.implementation == place.implementation) return &way;
    }
    return nullptr;
  }

  void count(const std::vector<Place>& places) {
    for (const Place& place : places) {
      if (index_.try_emplace(place.work, primitives_.size()).second) {
        primitives_.push_back({.work = place.work, .flops = place.flops, .ways = {}});
      }
      ++at(place).count;
    }
  }

  void time(CompiledStep& step, const std::vector<Place>& places) {
    std::vector<bool> wanted(step.program().steps().size(), false);
    for (const Place& place : places) {
      for (const std::size_t i : place.steps) wanted[i] = true;
    }
    step.program().profile(true, [&](std::size_t i, std::span<const std::span<const std::byte>> memory) {
      if (wanted[i]) eviction_.evict(memory);
    });
    step.run();
    step.program().profile(false);
    for (const Place& place : places) {
      double seconds = 0;
      for (const std::size_t i : place.steps) seconds += step.program().step_seconds()[i];
      find_way(place)->seconds.push_back(seconds);
    }
  }

  int runs_;
  Eviction eviction_;
  std::vector<Primitive> primitives_;
  std::map<Work, std::size_t> index_;
};

/// Choices that between them take every candidate that these didn't.
std::vector<program::Choices> alternatives(const program::Choices& chosen) {
  std::vector<program::Choices> result;
  for (const auto& [key, candidates] : chosen.offered()) {
    std::size_t round = 0;
    for (const std::string& candidate : candidates) {
      if (candidate == chosen.find(key)) continue;
      if (round == result.size()) result.push_back(chosen);
      result[round++].record(key, candidate);
    }
  }
  return result;
}

/// A value and its share of what is possible, or blanks where there is none.
std::string rate_text(double value, double peak) {
  if (!(value > 0) || !(peak > 0)) return fmt::format("{:>9} {:>6}", "", "");
  return fmt::format("{:9.1f} {:5.1f}%", value / 1e9, 100 * value / peak);
}

}  // namespace

std::vector<Primitive> measure_primitives(Workload& workload, CompiledStep& step, const program::Choices& choices,
                                          int runs) {
  Measurement measurement(runs);
  measurement.add(step, true);
  for (program::Choices& other : alternatives(choices)) {
    CompiledStep compiled(workload, other);
    measurement.add(compiled, false);
  }
  return measurement.take();
}

void print_primitives(const std::vector<Primitive>& primitives, const Peak& peak, Precision precision) {
  fmt::print("\n  {:>9} {:>9} {:>9} {:>9} {:>6} {:>9} {:>6}\n", "ms", "min", "max", "GFLOP/s", "peak", "GB/s", "copy");
  for (const Primitive& primitive : primitives) {
    fmt::print("{}{}\n", to_string(primitive.work),
               primitive.count > 1 ? fmt::format(" ({} times)", primitive.count) : "");
    for (const Way& way : primitive.ways) {
      const double seconds = base::median(way.seconds);
      const auto [min, max] = std::minmax_element(way.seconds.begin(), way.seconds.end());
      fmt::print("{} {:9.3f} {:9.3f} {:9.3f} {} {}  {}{}{}\n", way.chosen ? '*' : ' ', seconds * 1e3, *min * 1e3,
                 *max * 1e3, rate_text(primitive.flops / seconds, peak.flops(precision)),
                 rate_text(static_cast<double>(way.bytes) / seconds, peak.copy), way.candidate,
                 way.candidate.empty() ? "" : "  ", way.implementation);
    }
  }
  fmt::print("* chosen\n");
}

nlohmann::json primitives_json(const std::vector<Primitive>& primitives, const Peak& peak, Precision precision) {
  using nlohmann::json;
  json result = json::array();
  for (const Primitive& primitive : primitives) {
    json one{{"kind", to_string(primitive.work.kind)},
             {"work", primitive.work.text},
             {"part", primitive.work.part},
             {"count", primitive.count},
             {"flops", primitive.flops}};
    for (const Way& way : primitive.ways) {
      std::vector<double> ms;
      for (const double seconds : way.seconds) ms.push_back(seconds * 1e3);
      const double seconds = base::median(way.seconds);
      const double flops = primitive.flops / seconds;
      const double bytes = static_cast<double>(way.bytes) / seconds;
      json timed{{"candidate", way.candidate},
                 {"implementation", way.implementation},
                 {"chosen", way.chosen},
                 {"bytes", way.bytes},
                 {"ms", spread(ms)},
                 {"gb_per_s", bytes / 1e9},
                 {"share_of_copy", bytes / peak.copy}};
      if (primitive.flops > 0) {
        timed["gflops"] = flops / 1e9;
        timed["share_of_peak"] = flops / peak.flops(precision);
      }
      one["candidates"].push_back(std::move(timed));
    }
    result.push_back(std::move(one));
  }
  return result;
}

}  // namespace facet::bench
