#include <doctest/doctest.h>

#include "program/tuning_record.h"
#include "testing.h"
#include "train/small_run.h"

using namespace facet;

TEST_CASE("automatic precision is recorded, and gives the same bits as that precision when it is requested") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "automatic");
  options.precision = PrecisionChoice::automatic;
  small::Run automatic(options);
  CHECK(automatic.trainer.run());
  const Precision chosen = automatic.trainer.precision();
  CHECK(program::TuningRecord::load(options.out / "tuning.json", false).find("precision") == to_string(chosen));
  if (!has_native_bf16()) CHECK(chosen == Precision::f32);

  options.precision = parse_precision(to_string(chosen));
  options.out = folder / "given";
  small::Run given(options);
  CHECK(given.trainer.run());
  CHECK(small::learnt(automatic.trainer.parameters()) == small::learnt(given.trainer.parameters()));
}

TEST_CASE("a resumed or repeated run uses the recorded precision, without measuring") {
  if (!has_native_bf16()) {
    MESSAGE("left out: this CPU, or this oneDNN, computes no bf16");
    return;
  }
  const TemporaryFolder folder;
  for (const PrecisionChoice recorded : {PrecisionChoice::f32, PrecisionChoice::bf16}) {
    TrainOptions options = small::options(folder / (recorded == PrecisionChoice::f32 ? "f32" : "bf16"));
    const Precision expected = recorded == PrecisionChoice::f32 ? Precision::f32 : Precision::bf16;
    options.precision = recorded;
    small::Run first(options);
    CHECK(first.trainer.run());

    options.precision = PrecisionChoice::automatic;
    options.resume = true;
    CHECK(small::Run(options).trainer.precision() == expected);
    options.tuning_record = options.out / "tuning.json";
    options.out = folder / "repeated";
    CHECK(small::Run(options).trainer.precision() == expected);
    std::filesystem::remove_all(options.out);
  }
}
