#include <doctest/doctest.h>

#include "facet/inference.h"
#include "facet/models.h"
#include "formats/safetensors.h"
#include "inference/drawn_models.h"
#include "testing.h"

namespace facet::testing {
namespace {

const std::vector<Head> one_head{head("mood", 5)};

/// Writes a drawn model's weights for torchvision, which must load them strictly and give facet's logits.
void check_weights(const std::string& model, ImageSize size) {
  const TemporaryFolder folder;
  const std::filesystem::path weights = folder / "weights.safetensors", kept = folder / "model.safetensors";
  const DrawnModel drawn(model, size, one_head);
  save_weights(weights, drawn.info, drawn.parameters, torchvision_classifier(model));
  save_model(kept, drawn.info, drawn.parameters);
  constexpr int images = 3;
  const std::vector<std::uint8_t> pixels = drawn_pixels(images, size);
  write_floats(folder / "input", input_of(pixels, drawn.info, OnnxInput::normalized));
  REQUIRE(run_program({FACET_TEST_PYTHON, "-B", FACET_TEST_SOURCES "/run_torchvision.py", model, "5", weights.string(),
                       (folder / "input").string(), to_string(size), (folder / "logits").string()}) == 0);
  check_close(read_floats(folder / "logits"), Predictor(kept, {.batch = images}).predict(pixels)[0].logits);
}

}  // namespace

TEST_CASE("torchvision loads the weights of a one-head model strictly, and gives facet's logits") {
  if (*FACET_TEST_PYTHON == '\0' ||
      run_program({FACET_TEST_PYTHON, "-c", "import importlib.util as i; exit(not i.find_spec('torchvision'))"}) != 0) {
    MESSAGE("SKIPPED: no python3, or Python has no torchvision");
    return;
  }
  for (const auto& [model, size] : all_models()) {
    CAPTURE(model);
    if (std::string(model) != "reference") check_weights(model, size);
  }
}

TEST_CASE("a file for torchvision isn't a model file, and needs a single head") {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder / "weights.safetensors";
  const DrawnModel one("mobilenet_v2", 32, one_head), three("mobilenet_v2", 32);
  save_weights(file, one.info, one.parameters, "classifier.1");
  const formats::SafetensorsReader reader(file);
  CHECK(reader.find("classifier.1.bias") != nullptr);
  CHECK(reader.find("heads.mood.bias") == nullptr);
  CHECK(reader.metadata().at("heads") == R"([{"name":"mood","classes":["0","1","2","3","4"]}])");
  CHECK(contains(error_of([&] { read_model_info(file); }),
                 R"(is not a model file of facet: its metadata has the format "pt")"));
  CHECK(error_of([&] { save_weights(file, three.info, three.parameters, "classifier.1"); }) ==
        file.string() +
            ": the heads age, gender, race found; a single head is needed, whose layer is called classifier.1");
  CHECK(
      error_of([&] { torchvision_classifier("reference"); }) ==
      "model 'reference' is not one of torchvision's; allowed: resnet18, resnet34, resnet50, densenet121, densenet161, "
      "alexnet, mobilenet_v2");
}

}  // namespace facet::testing
