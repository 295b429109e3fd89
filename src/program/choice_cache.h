#pragma once

#include <filesystem>
#include <string>

#include "program/choices.h"

namespace facet::program {

/// What earlier processes measured on such a machine: a file in the user's cache folder, one for each CPU model, the
/// instructions that oneDNN may use (ONEDNN_MAX_CPU_ISA among them), its version, what it runs its threads on, and
/// layout of the file. Many processes may use it at once, on NFS too: it is read
/// whole, and replaced whole by what was read just before and what is new; of two that write at one time the later one
/// wins, and the other's choices are measured again some day.
class ChoiceCache {
 public:
  /// $XDG_CACHE_HOME/facet, else $HOME/.cache/facet; empty where neither is set.
  static std::filesystem::path user_folder();

  /// @param folder where the file lies or will lie; empty: nothing is remembered.
  explicit ChoiceCache(const std::filesystem::path& folder);

  /// Where it lies; empty: nowhere.
  const std::filesystem::path& file() const { return file_; }

  /// Adds what it knows to `choices`, but for keys that they have.
  /// @return one line when the file can't be used and is ignored; else nothing.
  std::string read_into(Choices& choices) const;

  /// Adds what `choices` measured.
  /// @return one line when that could not be written; else nothing.
  std::string add(const Choices& choices) const;

 private:
  std::filesystem::path file_;
  std::string machine_;
};

}  // namespace facet::program
