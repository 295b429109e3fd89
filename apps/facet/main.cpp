#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/manual.h"
#include "cli/options.h"
#include "cli/ranks.h"
#include "cli/terminal.h"
#include "facet/platform.h"

namespace facet::app {
namespace {

constexpr int broken_pipe = 141;  // a shell's exit status for a program that SIGPIPE ended

/// What SIGHUP did when the process began: nohup ignores it. MPICH brings UCX, which replaces that by an action of its
/// own as soon as the library is loaded (UCX_DEBUG_SIGNO), also where the process isn't a rank. A program's functions
/// in .preinit_array run before those of its libraries.
struct sigaction hangup_at_start;
void note_hangup(int, char**, char**) { sigaction(SIGHUP, nullptr, &hangup_at_start); }
[[gnu::section(".preinit_array"), gnu::used]] void (*const before_libraries)(int, char**, char**) = note_hangup;

/// Opens /dev/null for each of the descriptors 0, 1 and 2 that is closed, in a mode that lets its reads or writes fail.
/// Otherwise a file that the process opens would get that descriptor, and printed text would end up in the file.
void reserve_standard_descriptors() {
  for (const int descriptor : {0, 1, 2}) {
    if (::fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) {
      [[maybe_unused]] const int opened = ::open("/dev/null", descriptor == 0 ? O_WRONLY : O_RDONLY);
    }
  }
}

bool has_help_option(const std::vector<std::string>& words) {
  const auto end = std::find(words.begin(), words.end(), "--");
  return std::find(words.begin(), end, "--help") != end || std::find(words.begin(), end, "-h") != end;
}

int run_command(const Command& command, const std::vector<std::string>& words) {
  const bool wants_manual = has_help_option(words);
  try {
    if (command.run_on_ranks) return run_on_ranks(command, words, wants_manual);
    if (wants_manual) {
      print_out("{}", manual(command));
      return 0;
    }
    Options options(command.groups, words);
    heed_quiet(command, options);
    return command.run(options);
  } catch (...) {
    return report_failure(std::current_exception(), command.name);
  }
}

int run(std::vector<std::string> words) {
  const std::vector<Command> all = commands();
  if (words.empty()) {
    print_error("{}", manual(all));
    return misused;
  }
  if (words[0] == "help") {
    words.erase(words.begin());
    words.insert(words.end(), "--help");
  }
  if (words[0] == "--help" || words[0] == "-h") {
    print_out("{}", manual(all));
    return 0;
  }
  if (words[0] == "--version") {
    print_out("facet {}\n", version());
    for (const BuildFeature& feature : build_features()) print_out("{:15}{}\n", feature.name, feature.value);
    return 0;
  }
  std::vector<std::string> names;
  for (const Command& command : all) {
    if (command.name == words[0]) return run_command(command, {words.begin() + 1, words.end()});
    names.push_back(command.name);
  }
  if (words[0].starts_with('-')) {
    const std::vector<std::string> known{"--help", "--version"};
    print_error("facet: unknown option '{}'{}\n", words[0], did_you_mean(words[0], known));
    return misused;
  }
  const std::string hint = did_you_mean(words[0], names);
  print_error("facet: unknown command '{}'{}\n", words[0], hint.empty() ? "; facet --help lists them" : hint);
  return misused;
}

/// Whether the command prints only its progress, while its results are files (Command::prints_progress).
bool prints_progress(const std::vector<std::string>& words) {
  const std::vector<Command> all = commands();
  return !has_help_option(words) && std::any_of(all.begin(), all.end(), [&](const Command& command) {
    return command.prints_progress && !words.empty() && command.name == words[0];
  });
}

/// `status`, or that of a failure where standard output couldn't be written and is the command's result.
int status_after_output(const std::vector<std::string>& words, int status) {
  if (flush_output()) return status;
  const int reason = output_failure();
  if (prints_progress(words)) return status;
  if (reason == EPIPE) return broken_pipe;
  print_error("facet: can't write to standard output{}\n",
              reason == 0 ? "" : fmt::format(": {}", std::strerror(reason)));
  return status != 0 ? status : failed;
}

int run_and_report(const std::vector<std::string>& words) {
  try {
    return status_after_output(words, run(words));
  } catch (...) {
    return report_failure(std::current_exception(), "");
  }
}

}  // namespace
}  // namespace facet::app

int main(int argc, char** argv) {
  facet::app::reserve_standard_descriptors();
  sigaction(SIGHUP, &facet::app::hangup_at_start, nullptr);
  // A write to a closed pipe then returns an error, after which partly written files are removed.
  std::signal(SIGPIPE, SIG_IGN);
  return facet::app::run_and_report({argv + 1, argv + argc});
}
