#include "primitives.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/median.h"
#include "eviction.h"
#include "result.h"

namespace facet::bench {

using program::InstructionInfo;
using program::InstructionKind;

Work work_of(const InstructionInfo& instruction) {
  const std::string part = instruction.name.substr(instruction.name.rfind('.') + 1);
  if (!instruction.candidate.empty() && instruction.kind != InstructionKind::input) {
    if (instruction.kind == InstructionKind::convolution_backward_data)
      return {instruction.kind, "backward_data", instruction.work};
    if (instruction.kind == InstructionKind::convolution_backward_weights)
      return {instruction.kind, "backward_weights", instruction.work};
    // Instructions on the gradient of the weights or of the bias are part of that work.
    if (part.find("gradient") != std::string::npos) {
      return {InstructionKind::convolution_backward_weights, "backward_weights", instruction.work};
    }
    return {InstructionKind::convolution_forward, "forward", instruction.work};
  }
  return {instruction.kind, instruction.work.starts_with(part) ? "" : part, instruction.work};
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

/// An instruction, or all instructions of one convolution that belong to the same work.
struct Place {
  Work work;
  std::string candidate, implementation;
  double flops = 0;
  std::int64_t bytes = 0;
  std::vector<std::size_t> instructions;
};

std::vector<Place> places_of(const std::vector<InstructionInfo>& instructions) {
  std::vector<Place> places;
  std::map<std::pair<std::string, Work>, std::size_t> index;  // by node and work
  for (std::size_t i = 0; i < instructions.size(); ++i) {
    const InstructionInfo& instruction = instructions[i];
    const Work work = work_of(instruction);
    const std::string node = instruction.name.substr(0, instruction.name.rfind('.'));
    const auto [found, is_new] = index.try_emplace({node, work}, places.size());
    if (is_new || instruction.candidate.empty()) {
      found->second = places.size();
      places.push_back({.work = work, .candidate = instruction.candidate, .implementation = {}, .instructions = {}});
    }
    Place& place = places[found->second];
    if (place.implementation.empty() || instruction.flops > 0) place.implementation = instruction.implementation;
    place.flops += instruction.flops;
    place.bytes += instruction.bytes;
    place.instructions.push_back(i);
  }
  return places;
}

class Measurement {
 public:
  explicit Measurement(int runs) : runs_(runs) {}

  /// Times the places of a step whose work no earlier step has done in the same way.
  void add(CompiledStep& step, bool chosen) {
    std::vector<Place> places = places_of(step.program().instructions());
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
    step.run();  // warm-up: does the work that only a first run has to do
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
    std::vector<bool> wanted(step.program().instructions().size(), false);
    for (const Place& place : places) {
      for (const std::size_t i : place.instructions) wanted[i] = true;
    }
    step.program().profile(true, [&](std::size_t i, std::span<const std::span<const std::byte>> memory) {
      if (wanted[i]) eviction_.evict(memory);
    });
    step.run();
    step.program().profile(false);
    for (const Place& place : places) {
      double seconds = 0;
      for (const std::size_t i : place.instructions) seconds += step.program().instruction_seconds()[i];
      find_way(place)->seconds.push_back(seconds);
    }
  }

  int runs_;
  Eviction eviction_;
  std::vector<Primitive> primitives_;
  std::map<Work, std::size_t> index_;
};

/// Returns tuning records that together use every candidate that `chosen` doesn't use.
std::vector<program::TuningRecord> alternatives(const program::TuningRecord& chosen) {
  std::vector<program::TuningRecord> result;
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

/// Formats a rate and its share of the peak; returns blanks if either is missing.
std::string rate_text(double value, double peak) {
  if (!(value > 0) || !(peak > 0)) return fmt::format("{:>9} {:>6}", "", "");
  return fmt::format("{:9.1f} {:5.1f}%", value / 1e9, 100 * value / peak);
}

}  // namespace

std::vector<Primitive> measure_primitives(Workload& workload, CompiledStep& step,
                                          const program::TuningRecord& tuning_record, int runs) {
  Measurement measurement(runs);
  measurement.add(step, true);
  for (program::TuningRecord& other : alternatives(tuning_record)) {
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
