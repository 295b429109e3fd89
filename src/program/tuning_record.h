#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace facet::program {

/// The end of the keys of choices for a number of compute threads.
std::string threads_of_key(int threads);

/// Which candidate primitives run an op: maps a key that names op, shapes and types to the name of a candidate. For a
/// key without an entry, tuning measures the candidates and records the fastest; without tuning, oneDNN's default is
/// used and recorded.
class TuningRecord {
 public:
  explicit TuningRecord(bool tune) : tune_(tune) {}
  /// @throws Error naming the file when it is not a tuning record.
  static TuningRecord load(const std::filesystem::path& file, bool tune);
  /// Reads what to_text() returned. @param source what messages call the text. @throws Error as load() does.
  static TuningRecord parse(const std::string& source, const std::string& text, bool tune);
  /// Writes the file atomically.
  void save(const std::filesystem::path& file) const;
  /// The content of the file.
  std::string to_text() const;

  bool tune() const { return tune_; }
  /// A copy for which nothing is measured.
  TuningRecord without_tuning() const;
  /// The same, in which the choices for `from` compute threads are those for `to`.
  TuningRecord for_threads(int from, int to) const;
  /// The recorded candidate; empty if the key has none.
  std::string find(const std::string& key) const;
  void record(const std::string& key, const std::string& candidate);
  /// Notes the candidates for a key. They are kept for this process only, not saved.
  void offer(const std::string& key, const std::vector<std::string>& candidates) { offered_[key] = candidates; }
  const std::map<std::string, std::vector<std::string>>& offered() const { return offered_; }
  /// Sets a function that is called before each measurement, with the number of measurements so far.
  void observe(std::function<void(int)> observer) { observer_ = std::move(observer); }
  void tell_observer() const {
    if (observer_) observer_(static_cast<int>(measured_.size()));
  }
  /// Records the candidate that this process measured to be the fastest.
  void record_measured(const std::string& key, const std::string& candidate);
  /// The keys given to record_measured().
  const std::set<std::string>& measured() const { return measured_; }
  const std::map<std::string, std::string>& all() const { return chosen_; }

 private:
  bool tune_;
  std::map<std::string, std::string> chosen_;
  std::map<std::string, std::vector<std::string>> offered_;
  std::set<std::string> measured_;
  std::function<void(int)> observer_;
};

/// The tuning cache: what earlier processes measured on such a machine. It is a file in the user's cache folder, one
/// for each combination of CPU model, instruction sets that oneDNN may use (limited by ONEDNN_MAX_CPU_ISA among
/// others), oneDNN version, threading runtime, speed of the build and revision of the entries. Many processes may use
/// it at once, on NFS too: it is read whole, and replaced as a whole by what was just read and the new entries. If two
/// processes write at the same time, the later one wins, and the entries of the other are measured again at some later
/// time.
class TuningCache {
 public:
  /// @param folder contains the file, or will contain it; empty: nothing is remembered.
  explicit TuningCache(const std::filesystem::path& folder);

  /// The path of the file; empty if nothing is remembered.
  const std::filesystem::path& file() const { return file_; }

  /// Adds the cached entries to `record`, except for keys that it has already.
  /// @return one line when the file cannot be used and is ignored; else an empty string.
  std::string read_into(TuningRecord& record) const;

  /// Adds the entries that `record` measured to the file.
  /// @return one line when they cannot be written; else an empty string.
  std::string add(const TuningRecord& record) const;

 private:
  std::filesystem::path file_;
  std::string machine_;
};

}  // namespace facet::program
