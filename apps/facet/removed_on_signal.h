#pragma once

#include <csignal>
#include <cstddef>
#include <filesystem>

namespace facet::app {

/// While it lives, SIGINT, SIGTERM and SIGHUP remove this file, which is half written, before they end the process.
/// Signals that are ignored or answered already are left alone. At most 8 objects at a time: of more, the file stays.
class RemovedOnSignal {
 public:
  explicit RemovedOnSignal(const std::filesystem::path& file);
  ~RemovedOnSignal();
  RemovedOnSignal(const RemovedOnSignal&) = delete;
  RemovedOnSignal& operator=(const RemovedOnSignal&) = delete;

 private:
  std::size_t place_;  ///< among all that are
};

/// While it lives, those signals wait: for the time between a file's making and its RemovedOnSignal.
class SignalsHeldBack {
 public:
  SignalsHeldBack();
  ~SignalsHeldBack();
  SignalsHeldBack(const SignalsHeldBack&) = delete;
  SignalsHeldBack& operator=(const SignalsHeldBack&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace facet::app
