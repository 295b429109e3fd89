#include <doctest/doctest.h>

#include <string>

#include "testing.h"
#include "train/small_run.h"

using namespace facet;

TEST_CASE("a run takes the candidates that an earlier run has timed from the tuning cache") {
  const TemporaryFolder folder;
  TrainOptions options = small::options();
  options.tune = true;
  options.tuning_cache = folder / "cache";
  int timed = 0;
  options.on_tuning = [&](int done) {
    CHECK(done == timed);
    ++timed;
  };
  options.out = folder / "first";
  { const small::Run run(options); }
  CHECK(timed > 0);
  timed = 0;
  options.out = folder / "second";
  { const small::Run run(options); }
  CHECK(timed == 0);
  CHECK(read_file(folder / "first/tuning.json") == read_file(folder / "second/tuning.json"));
}

TEST_CASE("a damaged tuning cache is ignored with one note") {
  const TemporaryFolder folder;
  TrainOptions options = small::options();
  options.tune = true;
  options.tuning_cache = folder.path();
  { const small::Run run(options); }
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) write_file(entry.path(), "{");
  small::Run run(options);
  std::string notes;
  small::train(run.trainer, {.note = [&](const std::string& note) { notes += note; }, .stop = [] { return true; }});
  CHECK(notes.find("it is damaged; ignored") != std::string::npos);
}
