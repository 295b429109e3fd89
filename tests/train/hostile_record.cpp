#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "formats/model_file.h"
#include "testing.h"
#include "train/small_run.h"

using namespace facet;
using Json = nlohmann::json;

namespace {

/// A run that was stopped within its first epoch, and whose record can be altered.
class StoppedRun {
 public:
  StoppedRun() {
    options_.out = folder_ / "run";
    small::Run run(options_);
    int steps = 0;
    small::train(run.trainer, {.stop = [&] { return ++steps == 3; }});
    record_ = Json::parse(formats::SafetensorsReader(file()).metadata().at("training"));
    options_.resume = true;
  }

  std::filesystem::path file() const { return options_.out / "checkpoints" / "last.safetensors"; }

  /// The error of resuming with that text as the record, without the file's name; empty where the run goes on.
  std::string refusal(const std::string& record) const {
    formats::write_model_file(file(), small::info(), Parameters(small::model(), 0), {{"training", record}});
    const std::string error = error_of([&] { small::Run(options_).trainer.run(); });
    if (error.empty()) return "";
    CHECK_MESSAGE(error.starts_with(file().string() + ": "), error);
    CHECK_MESSAGE(!contains(error, "\n"), error);
    CHECK_MESSAGE(error.size() < 600, error);
    return error.substr(file().string().size() + 2);
  }
  std::string refusal(const std::function<void(Json&)>& change) const {
    Json record = record_;
    change(record);
    return refusal(record.dump());
  }

 private:
  TemporaryFolder folder_;
  TrainOptions options_ = small::options();
  Json record_;
};

}  // namespace

TEST_CASE("a record whose position is within a step is refused") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  options.accumulate = 2;
  {
    small::Run run(options);
    small::train(run.trainer, {.stop = [] { return true; }});
  }
  const std::filesystem::path file = options.out / "checkpoints" / "last.safetensors";
  Json record = Json::parse(formats::SafetensorsReader(file).metadata().at("training"));
  CHECK(record["batch"] == 2);
  record["batch"] = 3;
  formats::write_model_file(file, small::info(), Parameters(small::model(), 0), {{"training", record.dump()}});
  options.resume = true;
  CHECK(contains(error_of([&] { small::Run run(options); }), "it stands within a step, after batch 3"));
}

TEST_CASE("an optimiser's state that is damaged or holds invalid values is refused, naming file and tensor") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  {
    small::Run run(options);
    int steps = 0;
    small::train(run.trainer, {.stop = [&] { return ++steps == 3; }});
  }
  options.resume = true;
  const std::filesystem::path file = options.out / "checkpoints" / "last.optimizer-3.safetensors";
  const auto refusal = [&] { return error_of([&] { small::Run run(options); }); };
  const std::string good = read_file(file);
  std::string damaged = good;
  damaged.back() ^= 0x40;
  write_file(file, damaged);
  CHECK(contains(refusal(), file.string() + ": the file is damaged: tensor \"exp_avg_sq."));

  write_file(folder / "good", good);
  const formats::SafetensorsReader reader(folder / "good");
  const auto with = [&](const std::string& prefix, float value) {
    std::vector<formats::TensorSource> tensors;
    for (const formats::TensorEntry& tensor : reader.tensors()) {
      std::vector<float> values = reader.read_f32(tensor);
      if (tensor.name.starts_with(prefix)) values.back() = value;
      tensors.push_back({tensor.name, tensor.shape, [values] { return values; }});
    }
    formats::write_safetensors(folder / "altered", reader.metadata(), tensors);
    std::filesystem::copy_file(folder / "altered", file, std::filesystem::copy_options::overwrite_existing);
    return refusal();
  };
  CHECK(contains(with("exp_avg_sq.", -1e-20F), "holds -1e-20; finite numbers of at least 0 are allowed"));
  CHECK(contains(with("exp_avg_sq.", INFINITY), "holds inf; finite numbers of at least 0 are allowed"));
  CHECK(contains(with("exp_avg.", NAN), "holds nan; finite numbers are allowed"));
  CHECK(with("exp_avg.", -1).empty());
}

TEST_CASE("a run goes on from a checkpoint's record, or refuses it with the file's name") {
  const StoppedRun run;
  struct Case {
    const char* where;  ///< a JSON pointer
    Json value;
    const char* message;
  };
  const Case cases[] = {
      {"/epoch", 0, "`epoch` is \"0\"; a whole number of 1 to"},
      {"/epoch", -1, "`epoch` is"},
      {"/epoch", 1.5, "`epoch` is"},
      {"/epoch", "1", "`epoch` is"},
      {"/epoch", true, "`epoch` is"},
      {"/epoch", std::numeric_limits<std::uint64_t>::max(), "`epoch` is"},
      {"/epoch", std::numeric_limits<std::int64_t>::max(), "`epoch` is"},
      {"/batch", -1, "`batch` is"},
      {"/batch", small::batches + 1, "it stands after batch 7 of an epoch that has 6"},
      {"/step", -5, "`step` is"},
      {"/step", Json::array({1}), "`step` is array"},
      {"/best", 2, "`best` is"},
      {"/best", nullptr, "`best` is"},
      {"/epochs_since_best", -1, "`epochs_since_best` is"},
      {"/sums", 7, "`steps` is missing"},
      {"/sums/steps", -1, "`steps` is"},
      {"/sums/images", -1, "`images` is"},
      {"/sums/loss", "nan", "`loss` is"},
      {"/sums/loss", Json::array({1}), "`loss` is"},
      {"/sums/head_loss", Json::array({1}), "`head_loss` is a list of 1; one of 3 is allowed"},
      {"/sums/head_loss", Json::array({1, "1", 1}), "`head_loss` is"},
      {"/sums/head_weight", Json::array({1, -1, 1}), "`head_weight` is"},
      {"/sums/seconds", -1, "`seconds` is"},
      {"/sums/waited_seconds", -1, "`waited_seconds` is"},
      {"/sums/communication_waited_seconds", "1", "`communication_waited_seconds` is"},
      {"/sums/correct", Json::array(), "`correct` is a list of 0; one of 3 is allowed"},
      {"/sums/correct", Json::array({1, 1}), "`correct` is a list of 2"},
      {"/sums/labelled", Json::array({1, 1, 1, 1}), "`labelled` is a list of 4"},
      {"/sums/labelled", 3, "`labelled` is"},
      {"/sums/correct", Json::array({1, -1, 1}), "`correct` is"},
      {"/sums/correct", Json::array({1, "1", 1}), "`correct` is"},
      {"/sums/correct", Json::array({25, 0, 0}), "labelled and 25 right"},
      {"/sums/labelled", Json::array({73, 24, 24}), "24 images, 73 of them labelled"},
      {"/threads", 0, "`threads` is"},
      {"/threads", std::int64_t{1} << 40, "`threads` is"},
      {"/threads", "two", "`threads` is"},
      {"/options", 1, "`options` is not a JSON object"},
      {"/options", Json::object(), "`precision` is missing"},
      {"/options/precision", 32, "`precision` is"},
      {"/options/precision", "f16", "f16"},
      {"/options/seed", Json::array({Json::array({5})}), "option \"seed\" is not a single value"},
      {"/optimizer_file", 5, "`optimizer_file` is"},
      {"/optimizer_file", "../other.safetensors", "it names no file with the optimiser's state"},
      {"/optimizer_file", "", "it names no file with the optimiser's state"},
  };
  for (const Case& hostile : cases) {
    CAPTURE(hostile.where);
    CAPTURE(hostile.message);
    const std::string error =
        run.refusal([&](Json& record) { record[Json::json_pointer(hostile.where)] = hostile.value; });
    CHECK_MESSAGE(contains(error, hostile.message), error);
  }
  for (const char* member : {"epoch", "batch", "step", "best", "sums", "options", "threads", "optimizer_file"}) {
    CHECK(contains(run.refusal([&](Json& record) { record.erase(member); }), fmt::format("`{}` is missing", member)));
  }
  CHECK(contains(run.refusal("[]"), "is not a JSON object"));
  CHECK(contains(run.refusal("{"), "is not a JSON object"));
  const std::string deep = std::string(200000, '[') + std::string(200000, ']');
  CHECK(contains(run.refusal(fmt::format(R"({{"epoch":{}}})", deep)), "`epoch` is array"));
  CHECK(run.refusal([](Json&) {}).empty());
  for (const char* member : {"waited_seconds", "communication_waited_seconds"}) {  // earlier builds lack them
    // A run of its own: one that goes on replaces its files.
    CHECK(StoppedRun().refusal([&](Json& record) { CHECK(record["sums"].erase(member) == 1); }).empty());
  }
}

TEST_CASE("an option that the record lacks, as an earlier build's does, has its default") {
  for (const char* option : {"nesterov", "training data"}) {
    CHECK(StoppedRun().refusal([&](Json& record) { record["options"].erase(option); }).empty());
  }
  CHECK(contains(StoppedRun().refusal([](Json& record) { record["options"].erase("batch"); }),
                 "batch 64, requested is 8"));
}
