#include "cli/ranks.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string_view>
#include <utility>

#include "cli/manual.h"
#include "cli/stop_signal.h"
#include "cli/terminal.h"

namespace facet::app {
namespace {

constexpr const char* automatic = "auto";
const std::vector<std::string> mpi_values{automatic, "on", "off"};

/// The value of --mpi among words that haven't been parsed. What isn't allowed is refused once they are.
std::string mpi_among(const std::vector<std::string>& words) {
  const auto end = std::find(words.begin(), words.end(), "--");
  constexpr std::string_view joined = "--mpi=";
  for (auto word = words.begin(); word != end; ++word) {
    if (word->starts_with(joined)) return word->substr(joined.size());
    if (*word == "--mpi" && word + 1 != end) return *(word + 1);
  }
  return automatic;
}

/// "rank 1 (node03)", "ranks 1 (node03), 2 (node03) and 14 more"
std::string text_of_ranks(const std::vector<std::string>& names) {
  constexpr std::size_t most = 8;
  constexpr std::string_view word = "rank ";
  std::vector<std::string> shown;
  for (const std::string& name : names) {
    if (shown.size() < most) shown.push_back(name.substr(word.size()));
  }
  const std::string more = names.size() > most ? fmt::format(" and {} more", names.size() - most) : "";
  return fmt::format("{} {}{}", names.size() > 1 ? "ranks" : "rank", fmt::join(shown, ", "), more);
}

/// Prints what a command has failed with; returns the exit status, the same on all ranks.
int report_on_ranks(const ProcessGroup& ranks, const std::exception_ptr& error, const std::string& command) {
  if (ranks.size() == 1) return report_failure(error, command);
  if (!ranks.has_failed()) {
    report_failure(error, command, ranks.name(ranks.rank()));
    std::fflush(stdout);
    ranks.abort(failed);
  }
  // On the others the exception has lost its type, and so whether the user is to blame.
  return static_cast<int>(ranks.max(ranks.rank() == 0 ? report_failure(error, command) : exit_status_of(error)));
}

}  // namespace

Option mpi_option() {
  return {.name = "mpi",
          .argument = "auto|on|off",
          .help =
              "whether to train together with the other processes that mpirun or srun has started: auto does where "
              "there are several; with off each trains by itself, into an --out of its own",
          .fallback = automatic,
          .of_process = true};
}

Option rank_timeout_option() {
  return {.name = "rank-timeout",
          .argument = "SECONDS",
          .help =
              "end the run when one of its processes hasn't responded for that time, because it was killed or stopped "
              "or its network failed; continue with --resume; 1 or more; 0: never",
          .fallback = "60"};
}

double read_rank_timeout(const Options& options) {
  const std::string name = "rank-timeout";
  const double seconds = parse_number(options.text(name), options.origin(name));
  if (seconds < 1 && seconds != 0) {
    throw UsageError(fmt::format("{} is '{}'; 0, or 1 or more, is allowed", options.origin(name), options.text(name)));
  }
  return seconds;
}

void watch_ranks(const ProcessGroup& ranks, double timeout) {
  const auto on_lost = [timeout, own = ranks.name(ranks.rank())](const std::vector<std::string>& lost) {
    if (lost.empty()) {
      print_error("facet: {}: training has ended, but MPI has not, because a rank was lost; the process ends\n", own);
      return;
    }
    print_error("facet: {} {} not responded for {} s; the run ends, and --resume continues from its last checkpoint\n",
                text_of_ranks(lost), lost.size() > 1 ? "have" : "has", timeout);
  };
  const bool is_watched = ranks.watch(timeout, StopSignal::requeue, on_lost);
  if (!is_watched && timeout > 0 && ranks.size() > 1) {
    print_note("--rank-timeout has no effect: this MPI doesn't let facet communicate in the background");
  }
}

bool joins_ranks(const std::string& mpi) { return mpi == "on" || (mpi != "off" && ProcessGroup::is_launched()); }

int run_on_ranks(const Command& command, const std::vector<std::string>& words, bool wants_manual) {
  std::optional<StopSignal> signal(std::in_place);  // until the command handles signals itself
  const ProcessGroup ranks = joins_ranks(mpi_among(words)) ? ProcessGroup::join() : ProcessGroup();
  if (ranks.rank() > 0) silence_output();
  if (ranks.max(wants_manual ? 1 : 0) > 0) {
    print_out("{}", manual(command));
    return 0;
  }
  int status = 0;
  try {
    std::optional<Options> options;
    ranks.together([&] {
      options.emplace(command.groups, words, ranks.rank() == 0);
      options->one_of("mpi", mpi_values);
      heed_quiet(command, *options);
    });
    signal.reset();
    status = command.run_on_ranks(*options, ranks);
  } catch (...) {
    signal.reset();  // a launcher sends one as soon as another rank has left with the error
    status = report_on_ranks(ranks, std::current_exception(), command.name);
  }
  std::fflush(stdout);  // a launcher may end this process as soon as another has left with a status other than 0
  return status;
}

void share_options(Options& options, const ProcessGroup& ranks) {
  if (ranks.size() > 1) options.take_values(unpacked(ranks.broadcast(packed(options.values()))));
}

void on_first(const ProcessGroup& ranks, const std::function<void()>& function) {
  ranks.together([&] {
    if (ranks.rank() == 0) function();
  });
}

// Each text follows its length and a colon.
std::string packed(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += std::to_string(text.size()) + ':' + text;
  return all;
}

std::vector<std::string> unpacked(const std::string& text) {
  std::vector<std::string> texts;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t colon = text.find(':', at);
    const std::size_t length = std::stoull(text.substr(at, colon - at));
    texts.push_back(text.substr(colon + 1, length));
    at = colon + 1 + length;
  }
  return texts;
}

std::vector<std::string> gather_texts(const ProcessGroup& ranks, const std::vector<std::string>& texts) {
  std::vector<std::string> all;
  for (const std::string& text : ranks.gather(packed(texts))) {
    for (std::string& one : unpacked(text)) all.push_back(std::move(one));
  }
  return all;
}

}  // namespace facet::app
