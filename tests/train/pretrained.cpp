#include <doctest/doctest.h>

#include <algorithm>

#include "testing.h"
#include "train/small_run.h"

using namespace facet;
using small::Run;

TEST_CASE("a run starts from pretrained weights, and is resumed without their file") {
  const TemporaryFolder folder;
  const auto file = folder / "weights.safetensors";
  Parameters weights(small::model(), 99);
  weights.set_counter(weights.find("stem.bn.num_batches_tracked"), 7);
  save_model(file, small::info(), weights);

  TrainOptions options = small::options(folder / "run");
  options.pretrained = file;
  options.epochs = 1;
  options.ema_decay = 0.5;
  std::vector<std::string> notes;
  {
    Run run(options);
    CHECK(small::learnt(run.trainer.parameters()).at("stem.conv.weight") ==
          small::learnt(weights).at("stem.conv.weight"));
    CHECK(run.trainer.parameters().get_counter(weights.find("stem.bn.num_batches_tracked")) == 7);
    CHECK(small::train(run.trainer, {.note = [&](const std::string& note) { notes.push_back(note); }}));
  }
  const std::string expected = file.string() + ": " + std::to_string(weights.list().size()) + " tensors are loaded";
  CHECK(std::count(notes.begin(), notes.end(), expected) == 1);
  std::filesystem::remove(file);
  options.epochs = 2;
  options.resume = true;
  Run resumed(options);
  CHECK(resumed.trainer.run());
  CHECK(resumed.trainer.parameters().get_counter(weights.find("stem.bn.num_batches_tracked")) ==
        7 + 2 * small::batches);
}

TEST_CASE("frozen layers keep their weights, in a resumed run too") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  options.freeze = {"stem.*", "block.conv1.*", "block.bn1.*"};
  options.epochs = 1;
  small::Learnt before, after;
  {
    Run run(options);
    before = small::learnt(run.trainer.parameters());
    CHECK(before.count("stem.conv.weight.exp_avg") == 0);
    CHECK(run.trainer.planned_bytes() < Run(small::options()).trainer.planned_bytes());
    CHECK(run.trainer.run());
  }
  options.epochs = 2;
  options.resume = true;
  {
    Run run(options);
    CHECK(run.trainer.run());
    after = small::learnt(run.trainer.parameters());
  }
  for (const char* name : {"stem.conv.weight", "stem.bn.running_mean", "block.conv1.weight", "block.bn1.running_var"}) {
    CHECK_MESSAGE(after.at(name) == before.at(name), name);
  }
  CHECK(after.at("block.conv2.weight") != before.at("block.conv2.weight"));
  CHECK(after.at("block.bn2.running_var") != before.at("block.bn2.running_var"));
  options.freeze = {"stem.*"};
  CHECK(contains(error_of([&] { Run{options}; }),
                 R"(the run was started with freeze "stem.* block.conv1.* block.bn1.*", requested is "stem.*")"));
}

TEST_CASE("weights that don't fit are refused before the folder is created") {
  const TemporaryFolder folder;
  const std::vector<Head> heads{{"colour", {"red", "green"}}};
  ModelInfo info = small::info();
  info.heads = heads;
  save_model(folder / "weights", info, Parameters(small::model(heads), 1));
  TrainOptions options = small::options(folder / "run");
  options.pretrained = folder / "weights";
  const std::string what = error_of([&] { Run{options}; });
  CHECK_MESSAGE(contains(what, R"("side.hidden.weight" is missing (and 7 more like it))"), what);
  CHECK(!std::filesystem::exists(options.out));
}
