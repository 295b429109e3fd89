#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace facet::app {

/// One line on standard error that is drawn over and over, where that is a terminal; elsewhere nothing.
class ProgressBar {
 public:
  ProgressBar();
  /// Wipes the line.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// Whether anything is drawn.
  bool shown() const { return shown_; }
  /// Draws "LABEL [####....] TEXT" within the terminal's width, at most ten times a second.
  /// @param share done, 0 to 1; below 0: not known, and no bar.
  void draw(const std::string& label, double share, const std::string& text);
  /// Wipes the line, so that others can be printed.
  void clear();

 private:
  bool shown_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point last_{};
};

/// What to call before each thing that is timed, with the number of those before: says once that timing takes a while,
/// and draws how far it is.
std::function<void(int)> tuning_progress(ProgressBar& bar);

/// What to call with the number of things done: draws "LABEL [####....] 120/4,995 images".
/// @param bar must outlive it.
std::function<void(std::int64_t)> count_progress(ProgressBar& bar, std::string label, std::int64_t total);

}  // namespace facet::app
