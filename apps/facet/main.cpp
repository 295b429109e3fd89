#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "command.h"
#include "manual.h"
#include "nearest.h"

namespace facet::app {
namespace {

constexpr int failed = 1;
constexpr int misused = 2;

bool asks_for_help(const std::vector<std::string>& words) {
  const auto end = std::find(words.begin(), words.end(), "--");
  return std::find(words.begin(), end, "--help") != end || std::find(words.begin(), end, "-h") != end;
}

int run_command(const Command& command, const std::vector<std::string>& words) {
  if (asks_for_help(words)) {
    fmt::print("{}", manual(command));
    return 0;
  }
  try {
    Options options(command.groups, words);
    return command.run(options);
  } catch (const UsageError& error) {
    fmt::print(stderr, "facet {}: {}\n", command.name, error.what());
    return misused;
  }
}

int run(std::vector<std::string> words) {
  const std::vector<Command> all = commands();
  if (words.empty()) {
    fmt::print(stderr, "{}", manual(all));
    return misused;
  }
  if (words[0] == "help") {
    words.erase(words.begin());
    words.insert(words.end(), "--help");
  }
  if (words[0] == "--help" || words[0] == "-h") {
    fmt::print("{}", manual(all));
    return 0;
  }
  if (words[0] == "--version") {
    fmt::print("facet {}\n", FACET_VERSION);
    return 0;
  }
  std::vector<std::string> names;
  for (const Command& command : all) {
    if (command.name == words[0]) return run_command(command, {words.begin() + 1, words.end()});
    names.push_back(command.name);
  }
  if (words[0].starts_with('-')) {
    const std::vector<std::string> known{"--help", "--version"};
    fmt::print(stderr, "facet: unknown option '{}'{}\n", words[0], did_you_mean(words[0], known));
    return misused;
  }
  const std::string hint = did_you_mean(words[0], names);
  fmt::print(stderr, "facet: unknown command '{}'{}\n", words[0], hint.empty() ? "; facet --help lists them" : hint);
  return misused;
}

int run_and_report(const std::vector<std::string>& words) {
  try {
    const int status = run(words);
    if (std::fflush(stdout) == 0) return status;
    fmt::print(stderr, "facet: can't write to standard output: {}\n", std::strerror(errno));
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "facet: out of memory\n");
  } catch (const std::exception& error) {
    fmt::print(stderr, "facet: {}\n", error.what());
  }
  return failed;
}

}  // namespace
}  // namespace facet::app

int main(int argc, char** argv) { return facet::app::run_and_report({argv + 1, argv + argc}); }
