#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "kernels/loss.h"
#include "ops/network.h"
#include "reference/reference_file.h"

namespace facet::testing {
namespace {

/// Compares cross-entropies of labels or distributions, with and without smoothing and class weights.
template <class Target>
void check_cross_entropies(const ReferenceFile& reference, const std::vector<Target>& targets,
                           const std::string& prefix) {
  const std::vector<float> logits = reference.read("logits"), weights = reference.read("weights");
  const auto classes = static_cast<std::int64_t>(weights.size());
  const auto images = static_cast<std::int64_t>(logits.size()) / classes;
  for (const std::string name : {"plain", "smoothed", "weighed", "smoothed.weighed"}) {
    CAPTURE(name);
    kernels::LossRule rule;
    if (name.find("smoothed") != std::string::npos) rule.smoothing = 0.1;
    if (name.find("weighed") != std::string::npos) rule.class_weights.assign(weights.begin(), weights.end());
    std::vector<float> probabilities(logits.size()), gradient(logits.size());
    const kernels::LossSums sums =
        kernels::softmax_cross_entropy(logits.data(), targets.data(), images, classes, probabilities.data(), rule);
    CHECK(sums.mean() == doctest::Approx(reference.read(prefix + name + ".loss").at(0)).epsilon(1e-6).scale(0));
    kernels::softmax_cross_entropy_backward(probabilities.data(), targets.data(), images, classes, sums.weight,
                                            gradient.data(), rule);
    CHECK(max_difference(gradient, reference.read(prefix + name + ".gradient")) <= 1e-7);
    rule.weight = 2;
    std::vector<float> doubled(logits.size());
    kernels::softmax_cross_entropy_backward(probabilities.data(), targets.data(), images, classes, sums.weight,
                                            doubled.data(), rule);
    for (float& value : doubled) value /= 2;
    CHECK(doubled == gradient);
  }
}

}  // namespace

TEST_CASE("losses: label smoothing and class weights give the losses and gradients of PyTorch's cross_entropy") {
  if (!have_references()) return;
  const ReferenceFile reference("losses");
  check_cross_entropies(reference, reference.labels(), "");
}

TEST_CASE("losses: distributions give the losses and gradients of PyTorch's cross_entropy") {
  if (!have_references()) return;
  const ReferenceFile reference("losses");
  check_cross_entropies(reference, reference.read("distributions"), "distributions.");
}

TEST_CASE("losses: values give the losses and gradients of PyTorch, over the values that are present") {
  if (!have_references()) return;
  const ReferenceFile reference("losses");
  const std::vector<float> logits = reference.read("logits");
  const Shape shape = reference.shape("logits");
  std::vector<float> probabilities(logits.size()), gradient(logits.size());

  std::vector<float> targets = reference.read("binary_cross_entropy.targets");
  kernels::LossSums sums =
      kernels::binary_cross_entropy(logits.data(), targets.data(), shape[0], shape[1], probabilities.data());
  CHECK(sums.labelled < shape[0] * shape[1]);
  CHECK(sums.mean() == doctest::Approx(reference.read("binary_cross_entropy.loss").at(0)).epsilon(1e-6).scale(0));
  kernels::binary_cross_entropy_backward(probabilities.data(), targets.data(), shape[0], shape[1], sums.weight,
                                         gradient.data());
  CHECK(max_difference(gradient, reference.read("binary_cross_entropy.gradient")) <= 1e-8);

  targets = reference.read("mean_squared_error.targets");
  sums = kernels::mean_squared_error(logits.data(), targets.data(), shape[0], shape[1]);
  CHECK(sums.labelled < shape[0] * shape[1]);
  CHECK(sums.mean() == doctest::Approx(reference.read("mean_squared_error.loss").at(0)).epsilon(1e-6).scale(0));
  kernels::mean_squared_error_backward(logits.data(), targets.data(), shape[0], shape[1], sums.weight, gradient.data());
  CHECK(max_difference(gradient, reference.read("mean_squared_error.gradient")) <= 1e-7);
}

TEST_CASE("losses: CORAL's loss and its gradient are those of PyTorch's binary cross-entropies") {
  if (!have_references()) return;
  const ReferenceFile reference("losses");
  const Shape shape = reference.shape("logits");
  const std::int64_t images = shape[0], classes = shape[1];
  // The references have a logit for each class, of which the first isn't used.
  const auto without_first = [&](std::vector<float> rows) {
    for (std::int64_t n = images - 1; n >= 0; --n) rows.erase(rows.begin() + n * classes);
    return rows;
  };
  const std::vector<float> logits = without_first(reference.read("logits")), weights = reference.read("weights");
  const auto check = [&](const std::string& name, const auto& targets, const kernels::LossRule& rule) {
    CAPTURE(name);
    std::vector<float> gradient(logits.size());
    const kernels::LossSums sums = kernels::coral_loss(logits.data(), targets.data(), images, classes, nullptr, rule);
    CHECK(sums.mean() == doctest::Approx(reference.read(name + ".loss").at(0)).epsilon(1e-6).scale(0));
    kernels::coral_loss_backward(logits.data(), targets.data(), images, classes, sums.weight, gradient.data(), rule);
    CHECK(max_difference(gradient, without_first(reference.read(name + ".gradient"))) <= 1e-7);
  };
  check("coral", reference.labels(), {});
  check("coral.smoothed.weighed", reference.labels(),
        {.smoothing = 0.1, .class_weights = {weights.begin(), weights.end()}});
  check("coral.distributions", reference.read("distributions"), {});
}

}  // namespace facet::testing
