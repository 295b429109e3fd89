#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "primitives.h"
#include "profile.h"

namespace facet::bench {

/// The sum of a step's fastest primitives, reorders left out, and how the step stands to it.
struct Floor {
  /// Of one kind of steps, or of one primitive in all its places.
  struct Share {
    double floor = 0, step = 0;  ///< seconds
    double over() const { return step - floor; }
  };

  std::vector<Primitive> primitives;
  Share total;  ///< of `step` as it runs unprofiled
  std::map<std::string, Share> by_kind;
  std::map<Work, Share> by_work;

  double ratio() const { return total.step / total.floor; }
};

/// @param step_seconds of a step that wasn't profiled.
Floor floor_of(std::vector<Primitive> primitives, const Profile& profile, double step_seconds);

void print_floor(const Floor& floor);
nlohmann::json floor_json(const Floor& floor);

}  // namespace facet::bench
