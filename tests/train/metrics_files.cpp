#include "train/metrics_files.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>

#include "testing.h"

using namespace facet;
using train::MetricsFiles;

namespace {

const std::vector<Head> heads{{"age", {"young", "old"}}, {"the \"look\", say", {"a", "b"}}};

EpochResult epoch(std::int64_t number) {
  EpochResult result;
  result.epoch = number;
  result.train_loss = 1.5;
  result.train_accuracy = {0.5, 0.25};
  result.validation_loss = 0.1;
  result.validation.resize(2);
  result.validation[0].head = heads[0].name;
  result.validation[0].labelled = 4;
  result.validation[0].accuracy = 0.75;
  result.validation[1].head = heads[1].name;
  result.validation[1].labelled = 3;
  result.validation[1].accuracy = 1.0 / 3;
  result.learning_rate = 1e-4;
  result.images_per_s = 12.5;
  result.seconds = 60;
  result.peak_resident_bytes = 4096;
  result.waited = 0.03125;
  return result;
}

constexpr const char* header =
    "epoch,train_loss,validation_loss,validation_accuracy_age,\"validation_accuracy_the \"\"look\"\", say\","
    "learning_rate,images_per_s,seconds,peak_resident_bytes,waited\n";

}  // namespace

TEST_CASE("an epoch adds a line to each file") {
  const TemporaryFolder folder;
  const MetricsFiles files(folder.path(), heads);
  CHECK(!files.exist());
  files.add(epoch(1));
  CHECK(files.exist());
  CHECK(read_file(folder / "metrics.csv") ==
        std::string(header) + "1,1.5,0.1,0.75,0.3333333333333333,0.0001,12.5,60,4096,0.03125\n");
  CHECK(read_file(folder / "metrics.jsonl") ==
        R"({"epoch":1,"train_loss":1.5,"validation_loss":0.1,"validation_accuracy":)"
        R"({"age":0.75,"the \"look\", say":0.3333333333333333},"learning_rate":0.0001,"images_per_s":12.5,)"
        R"("seconds":60.0,"peak_resident_bytes":4096,"waited":0.03125})"
        "\n");
}

TEST_CASE("without a validation set its cells are empty and its keys absent") {
  EpochResult result = epoch(2);
  result.validation.clear();
  CHECK(train::csv_line(result, 2) == "2,1.5,,,,0.0001,12.5,60,4096,0.03125");
  CHECK(train::json_line(result) ==
        R"({"epoch":2,"train_loss":1.5,"learning_rate":0.0001,"images_per_s":12.5,"seconds":60.0,)"
        R"("peak_resident_bytes":4096,"waited":0.03125})");
}

TEST_CASE("a head without a label has no accuracy") {
  EpochResult result = epoch(2);
  result.validation[0].labelled = 0;
  result.validation[0].accuracy = 0;
  CHECK(train::csv_line(result, 2) == "2,1.5,0.1,,0.3333333333333333,0.0001,12.5,60,4096,0.03125");
  CHECK(contains(train::json_line(result), R"({"age":null,"the)"));
}

TEST_CASE("a file that can't be read or inspected is an error, not an empty file") {
  const TemporaryFolder folder;
  const MetricsFiles files(folder.path(), heads);
  std::filesystem::create_directory(folder / "metrics.csv");
  CHECK(error_of([&] { files.add(epoch(1)); }) == (folder / "metrics.csv").string() + ": is a folder, not a file");
  CHECK(error_of([&] { files.cut(1); }) == (folder / "metrics.csv").string() + ": is a folder, not a file");
  REQUIRE(::mkfifo((folder / "metrics.jsonl").c_str(), 0600) == 0);
  const std::string pipe = (folder / "metrics.jsonl").string() + ": is not a regular file";
  std::filesystem::remove(folder / "metrics.csv");
  CHECK(error_of([&] { files.add(epoch(1)); }) == pipe);
  CHECK(error_of([&] { files.cut(1); }) == pipe);
  CHECK(error_of([&] { train::read_metrics(folder.path()); }) == pipe);

  const MetricsFiles nowhere(folder / std::string(300, 'x'), heads);
  CHECK(contains(error_of([&] { nowhere.exist(); }), "can't be accessed: File name too long"));
}

TEST_CASE("cut keeps the epochs before, and no incomplete line") {
  const TemporaryFolder folder;
  const MetricsFiles files(folder.path(), heads);
  files.cut(1);
  CHECK(!files.exist());
  for (int number = 1; number <= 12; ++number) files.add(epoch(number));
  write_file(folder / "metrics.csv", read_file(folder / "metrics.csv") + "1");
  write_file(folder / "metrics.jsonl", read_file(folder / "metrics.jsonl") + R"({"epoch":1,"tra)");
  files.cut(3);
  files.add(epoch(3));
  const std::string line = ",1.5,0.1,0.75,0.3333333333333333,0.0001,12.5,60,4096,0.03125\n";
  CHECK(read_file(folder / "metrics.csv") == std::string(header) + "1" + line + "2" + line + "3" + line);
  const std::string json = read_file(folder / "metrics.jsonl");
  CHECK(std::count(json.begin(), json.end(), '\n') == 3);
  files.cut(1);
  CHECK(read_file(folder / "metrics.csv") == header);
  CHECK(read_file(folder / "metrics.jsonl").empty());
}

TEST_CASE("lines of an earlier build, which wrote fewer columns, get empty cells") {
  const TemporaryFolder folder;
  const MetricsFiles files(folder.path(), heads);
  write_file(folder / "metrics.csv", "epoch,train_loss\n1,1.5,0.1,0.75,0.3333333333333333,0.0001,12.5,60,4096\n");
  files.add(epoch(2));
  const std::string cells = ",1.5,0.1,0.75,0.3333333333333333,0.0001,12.5,60,4096,";
  CHECK(read_file(folder / "metrics.csv") == std::string(header) + "1" + cells + "\n2" + cells + "0.03125\n");
}

TEST_CASE("read_metrics returns what was written") {
  const TemporaryFolder folder;
  CHECK(train::read_metrics(folder.path()).empty());
  const MetricsFiles files(folder.path(), heads);
  files.add(epoch(1));
  EpochResult second = epoch(2);
  second.validation[0].labelled = 0;
  files.add(second);
  const std::vector<train::EpochMetrics> epochs = train::read_metrics(folder.path());
  REQUIRE(epochs.size() == 2);
  CHECK(epochs[0].epoch == 1);
  CHECK(epochs[0].images_per_s == 12.5);
  CHECK(epochs[0].seconds == 60);
  CHECK(epochs[0].peak_resident_bytes == 4096);
  CHECK(epochs[0].validation_accuracy.at(heads[1].name) == 1.0 / 3);
  CHECK(epochs[1].epoch == 2);
  CHECK(!epochs[1].validation_accuracy.at("age"));
}

TEST_CASE("an invalid line is refused with its number") {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder / "metrics.jsonl";
  const auto error_with = [&](const std::string& line) {
    write_file(file, train::json_line(epoch(1)) + "\n" + line + "\n");
    return error_of([&] { train::read_metrics(folder.path()); });
  };
  const std::string where = file.string() + ":2: ";
  CHECK(error_with("") == where + "a JSON object is needed");
  CHECK(error_with(R"({"epoch":2,"imag)") == where + "a JSON object is needed");
  CHECK(error_with(R"({"epoch":0})") == where + "`epoch` is \"0\"; a whole number of 1 to 9007199254740992 is allowed");
  CHECK(error_with(R"({"epoch":2})") == where + "`images_per_s` is missing");
  CHECK(error_with(R"({"epoch":2,"images_per_s":1,"seconds":1,"peak_resident_bytes":1,"validation_accuracy":[]})") ==
        where + "`validation_accuracy` is not a JSON object");
  CHECK(contains(error_with(R"({"epoch":2,"images_per_s":1,"seconds":1,"peak_resident_bytes":1,)"
                            R"("validation_accuracy":{"age":2}})"),
                 where + "`age` is"));
}
