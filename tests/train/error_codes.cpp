#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "facet/error.h"
#include "facet/files.h"
#include "facet/image.h"
#include "facet/model_file.h"
#include "facet/onnx.h"
#include "facet/session.h"
#include "facet/training.h"
#include "graph/some_op.h"
#include "inference/small_model.h"
#include "testing.h"

namespace facet {
namespace {

/// Whether `call` throws an Error of that code.
template <class Call>
bool throws(ErrorCode code, const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    CAPTURE(error.what());
    CHECK(static_cast<int>(error.code()) == static_cast<int>(code));
    return error.code() == code;
  }
  return false;
}

}  // namespace

TEST_CASE("error codes: an error without a code is that of an invalid argument; a prefix keeps the code") {
  CHECK(Error("text").code() == ErrorCode::invalid_argument);
  const Error error = Error("text", ErrorCode::in_use).with_prefix("file: ");
  CHECK(error.code() == ErrorCode::in_use);
  CHECK(std::string(error.what()) == "file: text");
}

TEST_CASE("error codes: an option that isn't allowed") {
  CHECK(throws(ErrorCode::invalid_argument, [] { check_options({.epochs = 0}); }));
  CHECK(throws(ErrorCode::invalid_argument, [] { save_model("unused", {}, Parameters(small::model(), 0)); }));
}

TEST_CASE("error codes: the content of a file") {
  const TemporaryFolder folder;
  write_file(folder / "text", "no image and no model");
  CHECK(throws(ErrorCode::invalid_data, [&] { read_image(folder / "text"); }));
  CHECK(throws(ErrorCode::invalid_data, [&] { read_model_info(folder / "text"); }));
  CHECK(throws(ErrorCode::invalid_data, [&] { list_pretrained(folder / "text"); }));
}

TEST_CASE("error codes: the system refuses") {
  const TemporaryFolder folder;
  CHECK(throws(ErrorCode::io, [&] { read_text(folder / "missing"); }));
  CHECK(throws(ErrorCode::io, [&] { read_image(folder / "missing"); }));
  CHECK(throws(ErrorCode::io, [&] { read_model_info(folder / "missing"); }));
  CHECK(throws(ErrorCode::io, [&] { AtomicFile(folder / "missing/file"); }));
  CHECK(throws(ErrorCode::io, [&] { status_of(folder / std::string(5000, 'x')); }));
}

TEST_CASE("error codes: parameters of terabytes") {
  Graph graph;
  const Value wide = linear(flatten(graph.input({3, 64, 64})), {.features = 50'000'000, .name = "wide"});
  softmax_cross_entropy(linear(wide, {.features = 2, .name = "logits"}), "head");
  CHECK(throws(ErrorCode::out_of_memory, [&] { Parameters(graph, 0); }));
}

TEST_CASE("error codes: a weight that isn't finite") {
  const TemporaryFolder folder;
  const Graph graph = small::model();
  Parameters parameters(graph, 0);
  parameters.set(0, std::vector<float>(parameters.get(0).size(), std::numeric_limits<float>::quiet_NaN()));
  CHECK(throws(ErrorCode::non_finite, [&] { export_onnx(folder / "file", small::info(), graph, parameters); }));
}

TEST_CASE("error codes: a loss that isn't finite, in a session and through a trainer's prefix") {
  ModelInfo info = small::info();
  const MemoryDataset data = small::images(16);
  TrainOptions options;
  options.batch = 8;
  options.precision = PrecisionChoice::f32;
  options.threads = 1;
  options.tune = false;
  options.learning_rate = 1e30;  // the first step's weights are finite, the second step's loss isn't
  TrainingSession session(small::model(), info, options);
  Loader loader(data, {.batch = 8, .size = small::size});
  loader.start_epoch(1);
  const Batch batch = *loader.next();
  CHECK(throws(ErrorCode::non_finite, [&] {
    for (int step = 0; step < 3; ++step) session.step(batch);
  }));
  Trainer trainer(small::model(), info, data, nullptr, options);
  CHECK(throws(ErrorCode::non_finite, [&] { trainer.run(); }));
}

TEST_CASE("error codes: a folder that another owner has locked") {
  const TemporaryFolder folder;
  const FolderLock lock(folder.path());
  CHECK(throws(ErrorCode::in_use, [&] { FolderLock second(folder.path()); }));
}

TEST_CASE("error codes: an op that ONNX lacks, through two prefixes") {
  const TemporaryFolder folder;
  Graph graph;
  const Value x = testing::apply_some(graph.input({3, small::size, small::size}), "own");
  softmax_cross_entropy(linear(x, {.features = 3, .name = "logits"}), "colour");
  const Parameters parameters(graph, 0);
  ModelInfo info = small::info();
  info.heads.resize(1);
  CHECK(throws(ErrorCode::unsupported, [&] { export_onnx(folder / "file", info, graph, parameters); }));
}

}  // namespace facet
