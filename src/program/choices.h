#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace facet::program {

/// Which candidate primitives run an op: by a key that names op, shapes and types, the candidate's name. What is not
/// yet chosen is measured and recorded, or, untuned, left to oneDNN's default (and recorded likewise).
class Choices {
 public:
  explicit Choices(bool tune) : tune_(tune) {}
  /// @throws Error naming the file when it isn't one of ours.
  static Choices load(const std::filesystem::path& file, bool tune);
  /// Written whole or not at all.
  void save(const std::filesystem::path& file) const;

  bool tune() const { return tune_; }
  /// Empty when nothing was chosen for the key.
  std::string find(const std::string& key) const;
  void record(const std::string& key, const std::string& candidate);
  /// Notes what there is to choose from: for this process alone, not saved.
  void offer(const std::string& key, const std::vector<std::string>& candidates) { offered_[key] = candidates; }
  const std::map<std::string, std::vector<std::string>>& offered() const { return offered_; }
  /// Told before something is measured: how many times that was done so far.
  void observe(std::function<void(int)> observer) { observer_ = std::move(observer); }
  void tell_observer() const {
    if (observer_) observer_(static_cast<int>(measured_.size()));
  }
  /// Records what was found fastest by measuring it, now.
  void record_measured(const std::string& key, const std::string& candidate);
  /// The keys of those.
  const std::set<std::string>& measured() const { return measured_; }
  const std::map<std::string, std::string>& all() const { return chosen_; }

 private:
  bool tune_;
  std::map<std::string, std::string> chosen_;
  std::map<std::string, std::vector<std::string>> offered_;
  std::set<std::string> measured_;
  std::function<void(int)> observer_;
};

}  // namespace facet::program
