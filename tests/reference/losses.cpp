#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "kernels/loss.h"
#include "ops/network.h"
#include "reference/reference_file.h"

namespace facet::testing {

TEST_CASE("losses: label smoothing and class weights give the losses and gradients of PyTorch's cross_entropy") {
  if (!have_references()) return;
  const ReferenceFile reference("losses");
  const std::vector<float> logits = reference.read("logits"), weights = reference.read("weights");
  const std::vector<std::int32_t> labels = reference.labels();
  const auto images = static_cast<std::int64_t>(labels.size());
  const auto classes = static_cast<std::int64_t>(weights.size());
  for (const std::string name : {"plain", "smoothed", "weighed", "smoothed.weighed"}) {
    CAPTURE(name);
    kernels::LossRule rule;
    if (name.find("smoothed") != std::string::npos) rule.smoothing = 0.1;
    if (name.find("weighed") != std::string::npos) rule.class_weights.assign(weights.begin(), weights.end());
    std::vector<float> probabilities(logits.size()), gradient(logits.size());
    const kernels::LossSums sums =
        kernels::softmax_cross_entropy(logits.data(), labels.data(), images, classes, probabilities.data(), rule);
    CHECK(sums.mean() == doctest::Approx(reference.read(name + ".loss").at(0)).epsilon(1e-6).scale(0));
    kernels::softmax_cross_entropy_backward(probabilities.data(), labels.data(), images, classes, sums.weight,
                                            gradient.data(), rule);
    CHECK(max_difference(gradient, reference.read(name + ".gradient")) <= 1e-7);
    rule.weight = 2;
    std::vector<float> doubled(logits.size());
    kernels::softmax_cross_entropy_backward(probabilities.data(), labels.data(), images, classes, sums.weight,
                                            doubled.data(), rule);
    for (float& value : doubled) value /= 2;
    CHECK(doubled == gradient);
  }
}

}  // namespace facet::testing
