#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "facet/export.h"

namespace facet {

/// What kind of failure an Error reports, for programs that react to it.
enum class ErrorCode : std::uint8_t {
  invalid_argument,  ///< a value, option or object that the caller passes isn't allowed, or the call isn't at this time
  invalid_data,      ///< the content of a file or a data set is damaged, or isn't of the form that is needed
  io,             ///< the system refuses to open, read, write or lock a file or folder, or to start a thread or program
  out_of_memory,  ///< memory runs out, or less is available than is needed
  non_finite,     ///< a loss, logit, gradient or weight that was computed or set is infinite or not a number
  in_use,         ///< another process, or an earlier call, uses a folder, core or library setting
  unsupported     ///< this build, the CPU, an installed library or a file format can't do what is asked
};

/// The exception that facet throws. Its message is a single line that says what was found, where (file and line, or the
/// name of the op, parameter or head) and what is allowed.
class FACET_EXPORT Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, ErrorCode code = ErrorCode::invalid_argument)
      : std::runtime_error(message), code_(code) {}

  ErrorCode code() const noexcept { return code_; }

  /// Returns an error of the same code whose message begins with `prefix`, such as "images.csv: ".
  Error with_prefix(const std::string& prefix) const { return Error(prefix + what(), code_); }

 private:
  ErrorCode code_;
};

}  // namespace facet
