#include "program/tuning_record.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/parallel.h"
#include "facet/error.h"
#include "program/small_model.h"
#include "testing.h"

namespace facet::testing {
namespace {

using program::TuningRecord;

}  // namespace

TEST_CASE("tuning record: loading restores what was saved") {
  const TemporaryFolder folder;
  TuningRecord tuning_record(true);
  CHECK(tuning_record.find("a") == "");
  tuning_record.record("a", "jit:avx512");
  tuning_record.record("key with \"quotes\" and \xc3\xa4", "wino");
  tuning_record.record("a", "brgemm");
  tuning_record.save(folder / "tuning.json");
  const TuningRecord loaded = TuningRecord::load(folder / "tuning.json", false);
  CHECK(loaded.all() == tuning_record.all());
  CHECK(loaded.find("a") == "brgemm");
  CHECK(!loaded.tune());
  CHECK(TuningRecord::load(folder / "tuning.json", true).tune());
}

TEST_CASE("tuning record: files of another format are refused by name") {
  const TemporaryFolder folder;
  const auto refuses = [&](const std::string& text) {
    const std::filesystem::path file = folder / "other.json";
    std::ofstream(file) << text;
    CHECK_THROWS_WITH_AS(TuningRecord::load(file, false),
                         doctest::Contains("other.json: no tuning record found; JSON as {\"choices\": {"), Error);
  };
  refuses("");
  refuses("not JSON");
  refuses("{\"choices\": {\"a\": \"b\"");
  refuses("[]");
  refuses("{}");
  refuses("{\"choices\": 3}");
  refuses("{\"choices\": {\"a\": 3}}");
  refuses("{\"choices\": [\"a\"]}");
  CHECK_THROWS_WITH_AS(TuningRecord::load(folder / "missing.json", false),
                       doctest::Contains("missing.json: no such file"), Error);
  CHECK_THROWS_WITH_AS(TuningRecord::load(folder.path(), false), doctest::Contains(": is a folder, not a file"), Error);
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THROWS_WITH_AS(TuningRecord::load(folder / "pipe", false), doctest::Contains("pipe: is not a regular file"),
                       Error);
}

TEST_CASE("tuning record: a program records every choice, and tuning keeps recorded choices") {
  const Problem problem = small_model(4);
  const auto implementations_with = [&](TuningRecord& tuning_record) {
    Parameters parameters = random_parameters(problem.graph);
    const program::Program compiled(problem.graph, parameters, {.batch = 4, .mode = program::Mode::gradients},
                                    tuning_record);
    std::vector<std::string> implementations;
    for (const program::InstructionInfo& instruction : compiled.instructions()) {
      implementations.push_back(instruction.implementation);
    }
    return implementations;
  };
  TuningRecord untuned(false);
  const auto implementations = implementations_with(untuned);
  CHECK(!untuned.all().empty());
  const TemporaryFolder folder;
  untuned.save(folder / "tuning.json");
  TuningRecord recorded = TuningRecord::load(folder / "tuning.json", true);
  CHECK(implementations_with(recorded) == implementations);
  CHECK(recorded.all() == untuned.all());

  // Another number of threads finds all choices as its own.
  TuningRecord tuned(true);
  {
    const base::ComputeScope scope(2);
    implementations_with(tuned);
  }
  TuningRecord moved = tuned.for_threads(2, 3);
  const auto before = moved.all();
  const base::ComputeScope scope(3);
  implementations_with(moved);
  CHECK(!tuned.measured().empty());
  CHECK(moved.all() == before);
  for (const auto& [key, candidate] : tuned.all()) {
    CHECK(moved.find(key.substr(0, key.rfind(' ')) + " 3") == candidate);
  }
}

TEST_CASE("tuning record: a tuned program computes what an untuned one does") {
  const Problem problem = small_model(4, false);
  Parameters parameters = random_parameters(problem.graph);
  Session untuned = gradient_session(problem, parameters);
  const double loss = untuned.run(problem);
  Session tuned(
      problem.graph, parameters,
      {.batch = problem.batch, .mode = program::Mode::gradients, .mean = {0.5F, 0.5F, 0.5F}, .std = {0.3F, 0.3F, 0.3F}},
      program::TuningRecord(true));
  CHECK(tuned.run(problem) == doctest::Approx(loss).epsilon(1e-5));
  for (const Parameter& parameter : parameters.list()) {
    if (!parameter.trainable) continue;
    CAPTURE(parameter.name);
    const std::vector<float> expected = untuned.gradient(parameter.name);
    CHECK(rms_difference(tuned.gradient(parameter.name), expected) <= 1e-4 * rms(expected) + 1e-7);
  }
}

TEST_CASE("tuning record: training and inference share parameters, whichever candidates they use") {
  const base::ComputeScope scope(test_threads);
  const Problem problem = small_model(4, false);
  const std::vector<std::string> candidates{"direct", "direct channels_last", "direct blocked", "winograd onednn",
                                            "winograd f32"};
  std::vector<float> expected;
  for (const std::string& train : candidates) {
    for (const std::string& infer : candidates) {
      CAPTURE(train);
      CAPTURE(infer);
      Parameters parameters(problem.graph, 0);
      const auto optimizer = optim::adam();
      const auto compile = [&](program::Mode mode, const std::string& candidate) {
        program::ProgramOptions options{.batch = problem.batch, .precision = Precision::f32, .mode = mode};
        options.optimizer = optimizer.get();
        Parameters tried(problem.graph, 0);
        TuningRecord tuning_record = prefer(candidate, problem.graph, tried, options);
        return program::Program(problem.graph, parameters, options, tuning_record);
      };
      program::Program training = compile(program::Mode::training, train);
      program::Program inference = compile(program::Mode::inference, infer);
      base::Arena arena;
      arena.grow(std::max(training.arena_bytes(), inference.arena_bytes()));
      training.bind(arena);
      inference.bind(arena);
      inference.run({.pixels = problem.pixels.data()});
      const auto logits = inference.heads()[0].logits;
      if (expected.empty()) expected.assign(logits.begin(), logits.end());
      for (std::size_t i = 0; i < expected.size(); ++i) CHECK(logits[i] == doctest::Approx(expected[i]).epsilon(1e-3));
      // Inference prepares its weights again after training has updated them.
      training.run({.pixels = problem.pixels.data(), .labels = problem.labels.data(), .learning_rate = 1e-3F});
      inference.run({.pixels = problem.pixels.data()});
      const std::vector<float> moved(logits.begin(), logits.end());
      program::Program fresh = compile(program::Mode::inference, infer);
      arena.grow(fresh.arena_bytes());
      fresh.bind(arena);
      fresh.run({.pixels = problem.pixels.data()});
      const auto fresh_logits = fresh.heads()[0].logits;
      CHECK(std::equal(moved.begin(), moved.end(), fresh_logits.begin(), fresh_logits.end()));
      CHECK(max_difference(moved, expected) > 1e-4);
    }
  }
}

}  // namespace facet::testing
