#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <string>

#include "testing.h"
#include "train/small_run.h"

using namespace facet;

TEST_CASE("a second trainer in a run's folder is refused and touches nothing") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  std::optional<small::Run> first(options);
  int steps = 0;
  small::train(first->trainer, {.stop = [&] { return ++steps == small::batches + 2; }});
  const std::filesystem::path half_written = options.out / "checkpoints" / "last.safetensors.tmp-1-0";
  write_file(half_written, "x");

  options.resume = true;
  const std::string error = error_of([&] { small::Run second(options); });
  CHECK(contains(error, (folder / "run").string() + " is in use by process " + std::to_string(::getpid()) + " on "));
  CHECK(std::filesystem::exists(half_written));
  CHECK(first->trainer.run());
  const small::Learnt whole = small::learnt(first->trainer);
  first.reset();
  small::Run second(options);
  CHECK(!std::filesystem::exists(half_written));
  CHECK(small::learnt(second.trainer) == whole);
}

TEST_CASE("the next start removes the temporary files of a killed run, and nothing else") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  options.ema_decay = 0.5;
  options.keep = 1;
  { CHECK(small::Run(options).trainer.run()); }
  const std::filesystem::path checkpoints = options.out / "checkpoints";
  for (const char* left : {"last.optimizer-7.safetensors", "last.average-7.safetensors", "best.safetensors.tmp-12-3",
                           "last.optimizer-9.safetensors.tmp-12-0"}) {
    write_file(checkpoints / left, "x");
  }
  for (const char* own :
       {"epoch-010-good.safetensors", "last.optimizer-mine.safetensors", "notes.safetensors.tmp-1-1"}) {
    write_file(checkpoints / own, "x");
  }
  for (const char* name : {"metrics.csv.tmp-12-0", "run.cfg.tmp-12-0", "notes.cfg.tmp-1-1"}) {
    write_file(options.out / name, "x");
  }
  options.resume = true;
  options.epochs = 4;
  CHECK(small::Run(options).trainer.run());
  for (const char* name : {"best.safetensors", "epoch-004.safetensors", "last.average-24.safetensors",
                           "last.optimizer-24.safetensors", "last.safetensors", "epoch-010-good.safetensors",
                           "last.optimizer-mine.safetensors", "notes.safetensors.tmp-1-1"}) {
    CAPTURE(name);
    CHECK(std::filesystem::remove(checkpoints / name));
  }
  CHECK(std::filesystem::is_empty(checkpoints));
  CHECK(!std::filesystem::exists(options.out / "metrics.csv.tmp-12-0"));
  CHECK(!std::filesystem::exists(options.out / "run.cfg.tmp-12-0"));
  CHECK(std::filesystem::exists(options.out / "notes.cfg.tmp-1-1"));
}

TEST_CASE("a run's folder may be relative to a working directory that changes later") {
  const TemporaryFolder folder;
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::create_directory(folder / "elsewhere");
  std::filesystem::current_path(folder.path());
  {
    small::Run run(small::options("run"));
    std::filesystem::current_path(folder / "elsewhere");
    CHECK(run.trainer.run());
  }
  std::filesystem::current_path(before);
  CHECK(std::filesystem::exists(folder / "run" / "checkpoints" / "best.safetensors"));
  CHECK(std::filesystem::is_empty(folder / "elsewhere"));
}
