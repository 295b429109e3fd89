// ProcessGroup::watch. Ranks that are lost end the program: tests/apps/test_cluster.py tests that.

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <iostream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "comm/ranks.h"
#include "facet/error.h"
#include "facet/process_group.h"

using namespace facet;
using facet::test::run_ranks;

namespace {

using Names = std::vector<std::string>;

constexpr int timeout = 5;  // seconds

void end_test(const Names& lost) {
  for (const std::string& name : lost) std::cout << name << " is lost" << std::endl;
}

/// Stops processes for longer than the timeout, this one among them.
void stop_and_continue(const std::vector<pid_t>& processes) {
  const auto began = std::chrono::steady_clock::now();
  const pid_t child = fork();
  if (child == 0) {
    for (const pid_t process : processes) kill(process, SIGSTOP);
    for (unsigned left = timeout + 1; left > 0;) left = sleep(left);
    for (const pid_t process : processes) kill(process, SIGCONT);
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  CHECK(std::chrono::steady_clock::now() - began > std::chrono::seconds(timeout));
}

}  // namespace

TEST_CASE("ranks are watched for a time that is a number, and once") {
  ProcessGroup alone;
  CHECK(!alone.watch(timeout, 1, end_test));
  CHECK_THROWS_WITH_AS(alone.watch(-1, 1, end_test), "a timeout of -1 seconds found; a number, 0 or more, is allowed",
                       Error);
  CHECK_THROWS_AS(alone.watch(std::numeric_limits<double>::quiet_NaN(), 1, end_test), Error);
  CHECK_THROWS_AS(alone.watch(std::numeric_limits<double>::infinity(), 1, end_test), Error);
  if (test::launched_group() != nullptr) return;  // which the next case watches
  run_ranks(2, [](ProcessGroup& group) {
    CHECK(!group.watch(0, 1, end_test));
    group.watch(timeout, 1, end_test);
    CHECK_THROWS_WITH_AS(group.watch(timeout, 1, end_test), "the ranks are watched already; it can be asked for once",
                         Error);
  });
}

TEST_CASE("ranks that are late, or are all stopped and continued, aren't lost") {
  for (const int ranks : {2, 3, 4}) {
    run_ranks(ranks, [](ProcessGroup& group) {
      const bool are_processes = test::launched_group() != nullptr;
      CHECK(group.watch(timeout, 1, end_test) == are_processes);
      CHECK(group.max(group.rank()) == group.size() - 1);
      if (!are_processes) return;

      if (group.rank() == 1) std::this_thread::sleep_for(std::chrono::duration<double>(1.5 * timeout));
      CHECK(group.max(group.rank()) == group.size() - 1);

      const std::vector<std::string> processes = group.gather(std::to_string(getpid()));
      if (group.rank() == 0) {
        std::vector<pid_t> numbers;
        for (const std::string& number : processes) numbers.push_back(std::stoi(number));
        stop_and_continue(numbers);
      }
      CHECK(group.max(group.rank()) == group.size() - 1);
    });
  }
}
