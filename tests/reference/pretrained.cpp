#include <doctest/doctest.h>

#include <set>

#include "error_of.h"
#include "facet/model_file.h"
#include "facet/models.h"
#include "interchange/pytorch_file.h"
#include "models/heads.h"
#include "reference/reference_file.h"

namespace facet::testing {
namespace {

bool have_files() { return have_references("pretrained_files.json"); }

std::vector<float> floats(const interchange::TensorValues& values) {
  if (const auto* found = std::get_if<std::vector<float>>(&values)) return *found;
  const auto& whole = std::get<std::vector<std::int64_t>>(values);
  return {whole.begin(), whole.end()};
}

}  // namespace

TEST_CASE("what PyTorch saved is read exactly, of every type and however it lies") {
  if (!have_files()) return;
  const ReferenceFile expected("state_dict");
  for (const char* file : {"state_dict.pth", "protocol4.pth"}) {
    CAPTURE(file);
    const auto tensors = interchange::open_pytorch_file(reference_folder() / file);
    CHECK(tensors.size() == 16);
    for (const auto& tensor : tensors) {
      CAPTURE(tensor.name);
      CHECK(tensor.shape == expected.shape(tensor.name));
      CHECK(floats(tensor.values()) == expected.read(tensor.name));
      CHECK((tensor.type == DataType::s64) == (tensor.name == "count"));
    }
  }
}

TEST_CASE("torchvision's weights go into facet's model by their names") {
  if (!have_files()) return;
  const Graph graph = build_model("resnet18", {.heads = fairface_heads(), .size = 64});
  Parameters parameters(graph, 1);
  const PretrainedWeights found = load_pretrained(reference_folder() / "resnet18.pth", parameters);
  CHECK(found.left_out == std::set<std::string>{"fc"});
  CHECK(found.fresh == std::set<std::string>{"heads.age", "heads.gender", "heads.race"});
  const ReferenceFile expected("resnet18.expected");
  for (std::size_t i = 0; i < parameters.list().size(); ++i) {
    const std::string& name = parameters.list()[i].name;
    if (!name.starts_with("heads.")) {
      CHECK_MESSAGE(parameters.get(static_cast<int>(i)) == expected.read(name), name);
    }
  }
  Parameters others(build_model("mobilenet_v2", {.heads = fairface_heads(), .size = 64}), 1);
  const std::string what = error_of([&] { load_pretrained(reference_folder() / "resnet18.pth", others); });
  CHECK_MESSAGE(contains(what, R"(doesn't fit the model: "features.0.0.weight" is missing (as )"), what);
  CHECK_MESSAGE(contains(what, R"("conv1.weight" is none of the model's (as )"), what);
}

TEST_CASE("PyTorch's other files are refused in a line") {
  if (!have_files()) return;
  const std::pair<const char*, const char*> files[] = {
      {"module.pth", R"(its pickle names "torch.nn.modules.linear.Linear")"},
      {"checkpoint.pth", R"("epoch" in its dictionary is an integer, not a tensor)"},
      {"legacy.pth", "as PyTorch wrote before 1.6"},
      {"mask.pth", R"(its pickle has elements of "torch.BoolStorage")"},
      {"script.pth", "holds a TorchScript program"}};
  for (const auto& [file, says] : files) {
    Parameters parameters(build_model("resnet18", {.heads = fairface_heads(), .size = 64}), 1);
    const std::string what = error_of([&] { load_pretrained(reference_folder() / file, parameters); });
    CHECK_MESSAGE(contains(what, says), what);
  }
}

}  // namespace facet::testing
