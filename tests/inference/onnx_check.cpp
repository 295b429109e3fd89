#include <doctest/doctest.h>

#include "facet/onnx.h"
#include "inference/drawn_models.h"
#include "testing.h"

namespace facet::testing {

TEST_CASE("the ONNX project's checker accepts the files, and infers the shapes that they declare") {
  if (*FACET_TEST_PYTHON == '\0' ||
      run_program({FACET_TEST_PYTHON, "-c", "import importlib.util as i; exit(not i.find_spec('onnx'))"}) != 0) {
    MESSAGE("SKIPPED: no python3, or Python has no onnx");
    return;
  }
  const TemporaryFolder folder;
  for (const auto& [model, size] : all_models()) {
    CAPTURE(model);
    const DrawnModel drawn(model, size);
    for (const bool fold : {false, true}) {
      const std::string file = (folder / "model.onnx").string();
      export_onnx(
          file, drawn.info, drawn.graph, drawn.parameters,
          {.input = fold ? OnnxInput::pixels : OnnxInput::normalized, .fold_batch_norm = fold, .softmax = fold});
      CHECK(run_program({FACET_TEST_PYTHON, "-B", FACET_TEST_SOURCES "/check_onnx.py", file, to_string(size),
                         fold ? "folded" : "kept"}) == 0);
    }
  }
}

}  // namespace facet::testing
