#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <memory>

#include "lowering/lowering.h"
#include "program/small_model.h"

namespace facet::testing {
namespace {

std::vector<std::vector<float>> train(const Problem& problem, std::uint64_t seed, std::byte fill) {
  Parameters parameters(problem.graph, seed);
  TrainingSession training(problem, parameters);
  std::memset(training.session().arena().data(), static_cast<int>(fill), training.session().program().arena_bytes());
  for (int step = 1; step <= 3; ++step) training.step(problem, step);
  return snapshot(parameters);
}

/// Adds to its input the contents of memory that no instruction has written.
class ReadsUnwritten final : public lowering::LowerableOp {
 public:
  std::string_view kind() const override { return "reads_unwritten"; }
  Shape infer_shape(const std::vector<Shape>& inputs) const override { return inputs.at(0); }
  double flops(const std::vector<Shape>&, const Shape&) const override { return 0; }
  lowering::Backward lower(lowering::Lowering& l) const override {
    const onednn::Layout layout = onednn::plain(l.output_dims(), onednn::Type::f32);
    const std::size_t count = layout.get_size() / sizeof(float);
    l.emit("forward", lowering::InstructionKind::elementwise, "reads_unwritten",
           {l.input(0, layout), l.make_output(layout), l.make(layout)},
           [count](std::span<void* const> at, lowering::RunState&) {
             const auto* x = static_cast<const float*>(at[0]);
             const auto* unwritten = static_cast<const float*>(at[2]);
             for (std::size_t i = 0; i < count; ++i) static_cast<float*>(at[1])[i] = x[i] + unwritten[i];
           });
    return {};
  }
};

}  // namespace

TEST_CASE("program: poison reveals an instruction that reads unwritten memory") {
  const Problem problem = make_problem([](Value x) {
    x = relu(linear(flatten(x), {.features = 6, .name = "hidden"}));
    return graph::apply(x.graph(), std::make_shared<const ReadsUnwritten>(), "bad", {x});
  });
  Parameters parameters = random_parameters(problem.graph);
  Session session = inference_session(problem, parameters);
  session.run(problem);
  for (const float logit : session.logits()) CHECK(std::abs(logit) < 1e9F);
  session.program().poison(std::byte{0xFF});
  session.run(problem);
  for (const float logit : session.logits()) CHECK(std::isnan(logit));
  session.program().poison(std::byte{0x7F});
  session.run(problem);
  for (const float logit : session.logits()) CHECK(!(std::abs(logit) < 1e30F));
}

TEST_CASE("program: the same seed gives the same bits, independent of the arena's earlier contents") {
  const Problem problem = small_model(6);
  const auto first = train(problem, 1, std::byte{0});
  CHECK(first == train(problem, 1, std::byte{0}));
  CHECK(first == train(problem, 1, std::byte{0xFF}));  // unwritten memory reads as NaN
  CHECK(first != train(problem, 2, std::byte{0}));
}

TEST_CASE("program: repeated runs give the same gradients and logits") {
  const Problem problem = small_model(5);
  Parameters parameters = random_parameters(problem.graph);
  Session session = gradient_session(problem, parameters);
  const double loss = session.run(problem);
  const std::vector<float> logits = session.logits(), gradient = session.gradient("stem.conv.weight");
  CHECK(session.run(problem, 2) != loss);  // another step has another dropout mask
  CHECK(session.run(problem, 1) == loss);
  CHECK(session.logits() == logits);
  CHECK(session.gradient("stem.conv.weight") == gradient);
}

TEST_CASE("program: programs of different batch sizes can share an arena") {
  const Problem problem = small_model(6);
  const Problem small = first_images(problem, small_model(2).graph, 2);
  Parameters parameters = random_parameters(problem.graph);
  Session large = inference_session(problem, parameters), alone = inference_session(small, parameters);
  large.run(problem);
  const std::vector<float> expected = large.logits();
  alone.run(small);
  const std::vector<float> expected_alone = alone.logits();
  alone.program().bind(large.arena());
  for (int i = 0; i < 2; ++i) {
    alone.run(small);
    CHECK(alone.logits() == expected_alone);
    large.run(problem);
    CHECK(large.logits() == expected);
  }
}

TEST_CASE("program: inference of an image doesn't depend on the other images of its batch") {
  const Problem problem = small_model(6);
  const Problem small = first_images(problem, small_model(1).graph, 1);
  Parameters parameters = random_parameters(problem.graph);
  Session all = inference_session(problem, parameters), one = inference_session(small, parameters);
  all.run(problem);
  one.run(small);
  const std::vector<float> logits = all.logits();
  CHECK(max_difference({logits.begin(), logits.begin() + 5}, one.logits()) < 1e-5 * rms(logits));
}

}  // namespace facet::testing
