#include <doctest/doctest.h>

#include "testing.h"
#include "train/small_run.h"

using namespace facet;
using small::Learnt;

namespace {

struct Outcome {
  Learnt learnt;
  std::vector<double> history;
};

Outcome train(const TrainOptions& options) {
  small::Run run(options);
  small::History history;
  CHECK(small::train(run.trainer, {.epoch = [&](const EpochResult& result) { history.add(result); }}));
  return {small::learnt(run.trainer.parameters()), history.numbers};
}

}  // namespace

TEST_CASE("the same seed gives the same bits, another seed gives others") {
  const TrainOptions options = small::options();
  const Outcome first = train(options), second = train(options);
  CHECK(first.learnt == second.learnt);
  CHECK(first.history == second.history);
  TrainOptions other = options;
  other.seed = 6;
  CHECK(train(other).learnt != first.learnt);
}

TEST_CASE("an output folder, more loader threads and checkpoints within epochs change no bit") {
  const TemporaryFolder folder;
  TrainOptions options = small::options();
  const Outcome plain = train(options);
  options.out = folder / "run";
  options.loader_threads = 3;
  options.checkpoint_minutes = 1e-9;
  options.keep = 1;
  const Outcome other = train(options);
  CHECK(plain.learnt == other.learnt);
  CHECK(plain.history == other.history);
}

TEST_CASE("a tuned run is reproduced by its tuning record") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "first");
  options.tune = true;
  options.epochs = 2;
  const Outcome first = train(options);
  options.tuning_record = folder / "first" / "tuning.json";
  options.out = folder / "second";
  const Outcome second = train(options);
  CHECK(first.learnt == second.learnt);
  CHECK(first.history == second.history);
  CHECK(read_file(folder / "first" / "tuning.json") == read_file(folder / "second" / "tuning.json"));
}
