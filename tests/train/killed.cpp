#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <sstream>
#include <thread>

#include "facet/inference.h"
#include "facet/sinks.h"
#include "testing.h"
#include "train/run_folder.h"
#include "train/small_run.h"

using namespace facet;

namespace {

constexpr const char* folder_variable = "FACET_TEST_KILLED_FOLDER";

TrainOptions options_in(const std::filesystem::path& folder) {
  TrainOptions options = small::options(folder);
  options.epochs = 1'000'000;
  options.checkpoint_minutes = 1e-9;
  options.keep = 1;
  options.ema_decay = 0.9;
  options.log_every = 1;
  options.resume = true;
  return options;
}

/// Starts a process that trains and saves after every step. It calls exec, as a fork alone inherits a dead thread pool.
pid_t start_training(const std::filesystem::path& folder) {
  ::setenv(folder_variable, folder.c_str(), 1);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::execl("/proc/self/exe", "test_train", "--test-case=the process that is killed", "--no-skip", "--minimal",
            nullptr);
    ::_exit(127);
  }
  return child;
}

std::int64_t saved_step(const std::filesystem::path& folder) {
  return train::LastCheckpoint(train::RunFolder(folder).last()).record().state.step;
}

/// Checks that a run's folder has one line for each epoch and each step, and none twice. A run that was killed may have
/// more lines than its checkpoint has epochs and steps.
void check_lines(const std::filesystem::path& folder, std::int64_t epochs, std::int64_t steps) {
  const std::vector<EpochMetrics> metrics = read_metrics(folder);
  CHECK(std::ssize(metrics) >= epochs);
  for (std::int64_t epoch = 1; epoch <= std::ssize(metrics); ++epoch) {
    CHECK(metrics[static_cast<std::size_t>(epoch - 1)].epoch == epoch);
  }
  std::istringstream lines(read_file(folder / "steps.csv"));
  std::string line;
  std::getline(lines, line);
  CHECK(line.starts_with("step,epoch,batch,loss,"));
  std::int64_t whole = 0;
  while (std::getline(lines, line) && !lines.eof()) CHECK(line.starts_with(std::to_string(++whole) + ","));
  CHECK(whole >= steps);
}

}  // namespace

TEST_CASE("the process that is killed" * doctest::skip()) {
  const char* folder = std::getenv(folder_variable);
  if (folder == nullptr) return;
  small::Run(options_in(folder)).trainer.run();
}

TEST_CASE("a kill at any moment leaves a checkpoint that loads, and the run goes on from it") {
  const TemporaryFolder folder;
  const std::filesystem::path out = folder / "run";
  const train::RunFolder checkpoints(out);
  std::int64_t step = 0;
  for (int kill = 0; kill < 12; ++kill) {
    CAPTURE(kill);
    const pid_t child = start_training(out);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    const auto has_progressed = [&] { return std::filesystem::exists(checkpoints.last()) && saved_step(out) > step; };
    while (!has_progressed() && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    std::this_thread::sleep_for(std::chrono::microseconds(997 * kill));
    ::kill(child, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));

    REQUIRE(saved_step(out) > step);
    step = saved_step(out);
    check_lines(out, train::LastCheckpoint(checkpoints.last()).record().state.epoch - 1, step);
    Parameters parameters(small::model(), 0), average(small::model(), 0);
    parameters.state().require_slots({"exp_avg", "exp_avg_sq"});
    train::LastCheckpoint(checkpoints.last())
        .load(parameters, &average, [&](int index, int slot, const std::vector<float>& elements) {
          parameters.state().set_slot(index, slot, elements);
        });
    if (std::filesystem::exists(checkpoints.best())) {
      Predictor best(checkpoints.best(), small::model(), {.batch = 8});
      CHECK(best.info().heads == small::heads());
    }
  }
  TrainOptions options = options_in(out);
  const std::int64_t epoch = train::LastCheckpoint(checkpoints.last()).record().state.epoch;
  options.epochs = epoch + 1;
  small::Run run(options);
  CHECK(run.trainer.run());
  check_lines(out, options.epochs, options.epochs * small::batches);

  TrainOptions straight = options;
  straight.out.clear();
  small::Run whole(straight);
  CHECK(whole.trainer.run());
  CHECK(small::learnt(run.trainer) == small::learnt(whole.trainer));
  int files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(out / "checkpoints")) ++files;
  CHECK(files == 5);
}
