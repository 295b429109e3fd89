#include "commands/training_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <utility>

#include "cli/terminal.h"
#include "facet/text.h"
#include "facet/training.h"

namespace facet::app {
namespace {

/// The minimum time between lines within an epoch.
constexpr std::chrono::seconds min_pause{10};

/// Whether the step has reached another tenth of the epoch. A step may consist of several batches.
bool begins_tenth(const StepResult& before, const StepResult& result) {
  const std::int64_t batch = before.epoch == result.epoch ? before.batch : 0;
  return 10 * result.batch / result.batches > 10 * batch / result.batches;
}

}  // namespace

void TrainingReport::on_start(const RunInfo& info) {
  heads_.clear();
  for (const Head& head : info.model.heads) heads_.push_back(printable(head.name));
  epochs_ = info.options.epochs;
  processes_ = info.options.processes.size();
  log_every_ = info.options.log_every;
}

std::string TrainingReport::accuracies(const std::vector<double>& values, int decimals) const {
  std::string text;
  for (std::size_t i = 0; i < heads_.size(); ++i) {
    text += fmt::format("{}{} ", i == 0 ? "" : "  ", heads_[i]);
    text += std::isnan(values[i]) ? "-" : fmt::format("{:.{}f}%", 100 * values[i], decimals);
  }
  return text;
}

std::string TrainingReport::run_time_left(const StepResult& result) const {
  const std::int64_t more = epochs_ - result.epoch;
  if (more <= 0) return "";
  const auto left = static_cast<double>(result.batches - result.batch);
  const double by_rate = left > 0 ? result.seconds_left / left * static_cast<double>(result.batches) : 0;
  const double each = epoch_seconds_ > 0 ? epoch_seconds_ : by_rate;
  return each > 0 ? fmt::format("  run {} left", duration_text(result.seconds_left + each * static_cast<double>(more)))
                  : "";
}

bool TrainingReport::line_due(const StepResult& result, bool another_tenth) const {
  if (log_every_ > 0) return result.step % log_every_ == 0;
  return !bar_.shown() && result.batch < result.batches && another_tenth &&
         std::chrono::steady_clock::now() - last_line_ >= min_pause;
}

void TrainingReport::on_step(const StepResult& result) {
  const bool another_tenth = begins_tenth(last_, result);
  last_ = result;
  const std::string label = fmt::format("epoch {}/{}", result.epoch, epochs_);
  const double share = static_cast<double>(result.batch) / static_cast<double>(result.batches);
  const std::string time =
      fmt::format("{:.1f} images/s  {} left", result.images_per_s, duration_text(result.seconds_left));
  const auto learnt = [&](int decimals) {
    return fmt::format("loss {:.3f}  {}", result.loss, accuracies(result.accuracy, decimals));
  };
  if (line_due(result, another_tenth)) {
    bar_.clear();
    const std::string step = log_every_ > 0 ? fmt::format("  step {}", result.step) : "";
    print_out("{}{}  {:.0f} %  {}  {}{}\n", label, step, 100 * share, learnt(1), time, run_time_left(result));
    std::fflush(stdout);
    last_line_ = std::chrono::steady_clock::now();
  }
  if (bar_.shown()) bar_.draw(label, share, fmt::format("{}  {}{}", time, learnt(0), run_time_left(result)));
}

void TrainingReport::on_epoch(const EpochResult& result) {
  bar_.clear();
  const std::string size = result.size ? " at " + to_string(*result.size) : "";
  std::string line = fmt::format("epoch {}/{}{}  training loss {:.4f}", result.epoch, epochs_, size, result.train_loss);
  if (result.validation.empty()) {
    line += "  " + accuracies(result.train_accuracy, 1);
  } else {
    std::vector<double> accuracy;
    for (const HeadResult& head : result.validation) {
      accuracy.push_back(head.labelled > 0 ? head.accuracy : std::numeric_limits<double>::quiet_NaN());
    }
    line += fmt::format("  validation loss {:.4f}  {}", result.validation_loss, accuracies(accuracy, 1));
    for (std::size_t i = 0; i < heads_.size(); ++i) {
      const HeadResult& head = result.validation[i];
      if (std::isnan(head.within_one) || head.labelled == 0) continue;
      line += fmt::format("  {} within one class {:.1f}%, MAE {:.3f}", heads_[i], 100 * head.within_one,
                          head.mean_absolute_error);
    }
  }
  std::string waited = "waited for images " + percent(result.waited);
  if (processes_ > 1) waited += ", for communication " + percent(result.communication_waited);
  print_out("{}  {:.1f} images/s  {}  {}{}\n", line, result.images_per_s, waited, duration_text(result.seconds),
            result.best ? "  " + styled(Style::success, "best so far", stdout) : "");
  std::fflush(stdout);
  ++epochs_done_;
  epoch_seconds_ = result.seconds;
  last_line_ = std::chrono::steady_clock::now();
}

void TrainingReport::on_profile(const StepProfile& profile) {
  bar_.clear();
  std::vector<std::pair<std::string, double>> parts(profile.seconds_by_kind.begin(), profile.seconds_by_kind.end());
  std::ranges::stable_sort(parts, std::ranges::greater(), [](const auto& part) { return part.second; });
  double rest = profile.seconds - profile.waited_seconds;
  for (const auto& [kind, seconds] : parts) rest -= seconds;
  parts.emplace_back("waiting for images", profile.waited_seconds);
  parts.emplace_back("other", rest);
  parts.emplace_back("step", profile.seconds);
  Table table({{"ms", true}, {"%", true}, {profile.processes > 1 ? "of rank 0" : ""}});
  for (const auto& [part, seconds] : parts) {
    table.add({fmt::format("{:.2f}", 1e3 * seconds), fmt::format("{:.1f}", 100 * seconds / profile.seconds), part});
  }
  print_out("profile     {} of {}: {:.1f} images/s\n{}", counted(profile.steps, "step"),
            counted(profile.images, "image"), profile.images_per_s, table.text(2));
  if (profile.processes > 1) {
    const StepProfile::Communication& communication = profile.communication;
    print_out(
        "  means of {} ranks: gradients and weights {:.2f} ms a step, {} hidden, waited {:.2f} ms, CPU {:.2f} ms;\n"
        "  small exchanges, in which ranks wait for slower ones, {:.2f} ms ({:.2f} at most)\n",
        profile.processes, 1e3 * communication.seconds, percent(communication.hidden),
        1e3 * communication.waited_seconds, 1e3 * communication.cpu_seconds, 1e3 * communication.other_seconds,
        1e3 * communication.longest_other_seconds);
  }
  std::fflush(stdout);
}

void TrainingReport::on_note(const std::string& text) {
  bar_.clear();
  print_note(printable(text));
  std::fflush(stdout);
}

void TrainingReport::on_end(const RunEnd& /*end*/) { bar_.clear(); }

}  // namespace facet::app
