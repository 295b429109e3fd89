#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace facet::bench {

/// An earlier result of bench_training --profile that later ones must not fall behind. What is compared are ratios
/// within one run each, which the clock of the machine moves little: step to floor, and FLOP/s to peak.
class Check {
 public:
  /// @throws Error naming the file and what is missing in it.
  explicit Check(const std::filesystem::path& earlier);

  /// @param result as result_json gives it, before anything is measured.
  /// @throws Error when the two are not of one workload on one kind of machine, naming what differs.
  void require_comparable(const nlohmann::json& result) const;

  /// Prints a line for each ratio. @return whether none is worse by more than a tenth.
  bool passes(const nlohmann::json& result) const;

 private:
  std::string file_;
  nlohmann::json earlier_;
};

}  // namespace facet::bench
