#include <doctest/doctest.h>

#include <filesystem>
#include <span>
#include <string>

#include "testing.h"
#include "train/run_folder.h"
#include "train/small_run.h"

using namespace facet;

namespace {

/// The images of another data set, one of which can't be read while `lost` is true.
class Lossy final : public Dataset {
 public:
  Lossy(const Dataset& data, std::int64_t image) : data_(data), image_(image) {}
  std::int64_t size() const override { return data_.size(); }
  const std::vector<Head>& heads() const override { return data_.heads(); }
  std::span<const std::int32_t> labels(std::int64_t index) const override { return data_.labels(index); }
  std::string name(std::int64_t index) const override { return data_.name(index); }
  void load(const LoadRequest& request, std::span<std::uint8_t> pixels) const override {
    if (lost && request.index == image_) throw Error(name(image_) + ": can't be read");
    data_.load(request, pixels);
  }

  bool lost = true;

 private:
  const Dataset& data_;
  std::int64_t image_;
};

/// Trains until an image can't be read, checks the step that is saved, and resumes in another trainer with that image.
void check(TrainOptions options, Lossy& train, Lossy& validation, std::int64_t saved_step) {
  const TemporaryFolder folder;
  small::Run whole(options);
  REQUIRE(whole.trainer.run());
  options.out = folder / "run";
  {
    Trainer trainer(small::model(), small::info(), train, &validation, options);
    const std::string error = error_of([&] { trainer.run(); });
    CHECK(contains(error, ": can't be read; the steps before it are saved"));
  }
  const train::LastCheckpoint last(options.out / "checkpoints" / "last.safetensors");
  CHECK(last.record().state.step == saved_step);
  train.lost = validation.lost = false;
  options.resume = true;
  Trainer trainer(small::model(), small::info(), train, &validation, options);
  REQUIRE(trainer.run());
  CHECK(small::learnt(trainer) == small::learnt(whole.trainer));
}

/// The image at a position in the order of the first epoch.
std::int64_t image_at(std::int64_t position) {
  return epoch_order(small::train_images, small::options().seed, 1)[position];
}

}  // namespace

TEST_CASE("an image that can't be read in training costs no step: those before it are saved") {
  Lossy train(small::train_set(), image_at(3 * 8 + 5)), validation(small::validation_set(), -1);
  check(small::options(), train, validation, 3);
}

TEST_CASE("an image that can't be read in validation costs no step") {
  Lossy train(small::train_set(), -1), validation(small::validation_set(), 12);
  check(small::options(), train, validation, small::batches);
}

TEST_CASE("a step over several batches is trained again as a whole where one of its images can't be read") {
  Lossy train(small::train_set(), image_at(3 * 8 + 5)), validation(small::validation_set(), -1);
  TrainOptions options = small::options();
  options.accumulate = 2;
  const TemporaryFolder folder;
  options.out = folder / "run";
  Trainer trainer(small::model(), small::info(), train, &validation, options);
  CHECK(contains(error_of([&] { trainer.run(); }), "the steps before it are saved"));
  const train::LastCheckpoint last(options.out / "checkpoints" / "last.safetensors");
  CHECK(last.record().state.step == 1);
  CHECK(last.record().state.batch == 2);
  CHECK(last.record().state.sums.images == 16);
  train.lost = false;
  CHECK(trainer.run());
}

TEST_CASE("nothing is saved before the first step: the same command starts from the beginning") {
  Lossy train(small::train_set(), image_at(2)), validation(small::validation_set(), -1);
  const TemporaryFolder folder;
  const TrainOptions options = small::options(folder / "run");
  {
    Trainer trainer(small::model(), small::info(), train, &validation, options);
    const std::string error = error_of([&] { trainer.run(); });
    CHECK(contains(error, ": can't be read"));
    CHECK(!contains(error, "saved"));
  }
  train.lost = false;
  CHECK(Trainer(small::model(), small::info(), train, &validation, options).run());
}
