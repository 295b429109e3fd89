#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace facet::data {

/// What is done to an image on its way from a file into a batch.
enum class Stage : std::uint8_t {
  read,        ///< its encoded bytes are read into memory
  decode,      ///< of a JPEG, the part that is needed, at the scale that is needed
  resize,      ///< and cropped
  transforms,  ///< mirrored, changed at random and mixed with others
  collate      ///< all else: labels and targets are copied, buffers are taken and given back
};
inline constexpr std::array stages{Stage::read, Stage::decode, Stage::resize, Stage::transforms, Stage::collate};

/// While it lives, adds up the time that the threads of this process spend on images, by stage, for a benchmark. There
/// is at most one, which must outlive the loading that it measures. Without it, nothing is timed.
class StageClock {
 public:
  StageClock() { current_ = this; }
  ~StageClock() { current_ = nullptr; }
  StageClock(const StageClock&) = delete;
  StageClock& operator=(const StageClock&) = delete;

  /// Returns the seconds of all threads together. All other stages lie within collate and don't count as a part of it.
  double seconds(Stage stage) const;

 private:
  friend class StageTimer;

  std::atomic<std::int64_t>& nanoseconds(Stage stage) { return nanoseconds_[static_cast<std::size_t>(stage)]; }

  static std::atomic<StageClock*> current_;
  std::array<std::atomic<std::int64_t>, stages.size()> nanoseconds_{};
};

/// Adds the time from its construction to its destruction to a stage of the StageClock, if there is one.
class StageTimer {
 public:
  explicit StageTimer(Stage stage) : clock_(StageClock::current_), stage_(stage) {
    if (clock_) begin_ = Clock::now();
  }
  ~StageTimer() {
    if (clock_) clock_->nanoseconds(stage_) += std::chrono::nanoseconds(Clock::now() - begin_).count();
  }
  StageTimer(const StageTimer&) = delete;
  StageTimer& operator=(const StageTimer&) = delete;

 private:
  using Clock = std::chrono::steady_clock;

  StageClock* const clock_;
  const Stage stage_;
  Clock::time_point begin_ = {};
};

/// Returns what `work` returns, timed as a stage.
template <class Work>
auto timed(Stage stage, const Work& work) {
  const StageTimer timer(stage);
  return work();
}

}  // namespace facet::data
