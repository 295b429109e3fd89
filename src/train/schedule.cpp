#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "facet/error.h"
#include "train/recipe.h"
#include "train/run_options.h"

namespace facet {

using Kind = LearningRateSchedule::Kind;

namespace {

struct ScheduleName {
  Kind kind;
  std::string_view name;
};

constexpr ScheduleName schedules[] = {
    {Kind::constant, "constant"}, {Kind::step, "step"}, {Kind::cosine, "cosine"}, {Kind::one_cycle, "one-cycle"}};

std::string schedule_names() {
  std::vector<std::string_view> names;
  for (const ScheduleName& entry : schedules) names.push_back(entry.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

std::string_view to_string(Kind kind) {
  for (const ScheduleName& entry : schedules) {
    if (entry.kind == kind) return entry.name;
  }
  throw Error(fmt::format("schedule {} found; allowed: {}", static_cast<int>(kind), schedule_names()));
}

Kind parse_schedule(std::string_view text) {
  for (const ScheduleName& entry : schedules) {
    if (entry.name == text) return entry.kind;
  }
  throw Error(fmt::format("schedule '{}' found; allowed: {}", text, schedule_names()));
}

namespace train {
namespace {

/// Cosine annealing from `first`, at a `share` of 0, to `last`, at a `share` of 1.
double annealed(double first, double last, double share) {
  return last + (first - last) / 2 * (1 + std::cos(std::numbers::pi * share));
}

}  // namespace

std::vector<Kind> schedule_kinds() {
  std::vector<Kind> kinds;
  for (const ScheduleName& entry : schedules) kinds.push_back(entry.kind);
  return kinds;
}

double peak_learning_rate(const TrainOptions& options) {
  if (options.lr_scale_batch == 0) return options.learning_rate;
  const auto images = static_cast<double>(options.batch) * static_cast<double>(options.accumulate);
  return options.learning_rate * images / static_cast<double>(options.lr_scale_batch);
}

Schedule::Schedule(const TrainOptions& options, std::int64_t steps_per_epoch)
    : o_(options.schedule),
      peak_(peak_learning_rate(options)),
      per_epoch_(static_cast<double>(steps_per_epoch)),
      total_(per_epoch_ * static_cast<double>(options.epochs)),
      warmup_(std::round(per_epoch_ * o_.warmup_epochs)) {}

double Schedule::learning_rate(std::int64_t step) const {
  const auto done = static_cast<double>(step - 1);
  if (done < warmup_) return peak_ * (o_.warmup_factor + (1 - o_.warmup_factor) * done / warmup_);
  const double since = done - warmup_;
  switch (o_.kind) {
    case Kind::constant:
      break;
    case Kind::step:
      return peak_ * std::pow(o_.gamma, std::floor(since / (per_epoch_ * static_cast<double>(o_.step_size))));
    case Kind::cosine:
      return annealed(peak_, o_.eta_min, since / (total_ - warmup_));
    case Kind::one_cycle:
      return one_cycle(done, peak_ / o_.div_factor, peak_, peak_ / o_.div_factor / o_.final_div_factor);
  }
  return peak_;
}

std::optional<double> Schedule::momentum(std::int64_t step) const {
  if (o_.kind != Kind::one_cycle || !o_.cycle_momentum) return std::nullopt;
  return one_cycle(static_cast<double>(step - 1), o_.max_momentum, o_.base_momentum, o_.max_momentum);
}

double Schedule::one_cycle(double done, double first, double middle, double last) const {
  const double top = o_.pct_start * total_ - 1, end = total_ - 1;
  if (done < top) return annealed(first, middle, done / top);
  return end > top ? annealed(middle, last, (done - top) / (end - top)) : middle;
}

namespace {

/// The sides of smaller images are multiples of this: each size needs primitives of its own, and models halve their
/// images up to five times.
constexpr int size_step = 32;

int scaled_side(int side, double scale) {
  const auto steps = static_cast<int>(std::lround(scale * side / size_step));
  return std::min(std::max(steps, 1) * size_step, side);
}

}  // namespace

ImageSize training_size(const TrainOptions& options, ImageSize full, std::int64_t epoch) {
  const ProgressiveResizing& o = options.progressive_resizing;
  if (!o.is_used()) return full;
  constexpr double rounding = 1e-9;  // 0.2 * 15 is above 3
  const auto epochs = static_cast<double>(options.epochs), now = static_cast<double>(epoch);
  const double first = std::max(std::floor(o.delay_fraction * epochs + rounding), 1.0);
  const double last = std::max(std::ceil(o.finetune_fraction * epochs - rounding), 1.0);
  if (now > epochs - last) return full;
  const double risen = std::max(now - first, 0.0) / (epochs - last - first + 1);
  const double scale = o.initial_scale + (1 - o.initial_scale) * (now > first ? risen : 0);
  return {scaled_side(full.height, scale), scaled_side(full.width, scale)};
}

Schedule checked_schedule(const TrainOptions& options, std::int64_t steps_per_epoch, std::int64_t step) {
  check_options(options);
  if (steps_per_epoch < 1 || step < 1) {
    throw Error(fmt::format("schedule: step {} of epochs of {} steps found; 1 or more of each are allowed", step,
                            steps_per_epoch));
  }
  return {options, steps_per_epoch};
}

}  // namespace train
}  // namespace facet
