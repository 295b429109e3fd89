#include "data/stage_clock.h"

namespace facet::data {

std::atomic<StageClock*> StageClock::current_ = nullptr;

double StageClock::seconds(Stage stage) const {
  std::int64_t total = 0;
  for (const Stage each : stages) {
    const std::int64_t time = nanoseconds_[static_cast<std::size_t>(each)];
    if (each == stage) total += time;
    if (each != stage && stage == Stage::collate) total -= time;
  }
  return 1e-9 * static_cast<double>(total);
}

}  // namespace facet::data
