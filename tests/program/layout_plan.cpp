#include "program/layout_plan.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "comm/thread_transport.h"
#include "each_cpu_isa.h"
#include "facet/error.h"
#include "lowering/lowering.h"
#include "program/parameter_store.h"
#include "program/small_model.h"

namespace facet::testing {
namespace {

using onednn::Layout;
using onednn::Type;

program::LayoutPlan plan_of(const Problem& problem, const optim::Optimizer& rule,
                            comm::Communicator* communicator = nullptr) {
  const base::ComputeScope scope(test_threads);
  program::TuningRecord tuning_record(false);
  return program::plan_layouts(
      problem.graph,
      {.batch = problem.batch, .mode = program::Mode::training, .optimizer = &rule, .communicator = communicator},
      tuning_record);
}

/// Reads a weight in some layouts and has its gradient in another. It is planned only, on any CPU.
class ReadsWeight final : public lowering::LowerableOp {
 public:
  ReadsWeight(std::vector<Layout> read, Layout gradient) : read_(std::move(read)), gradient_(std::move(gradient)) {}

  std::string_view kind() const override { return "reads_weight"; }
  Shape infer_shape(const std::vector<Shape>& inputs) const override { return inputs.at(0); }
  double flops(const std::vector<Shape>&, const Shape&) const override { return 0; }
  lowering::Backward lower(lowering::Lowering& l) const override {
    l.set_output(l.input(0));
    for (const Layout& layout : read_) l.parameter(0, layout);
    return [this](lowering::Lowering& back) {
      back.add_input_gradient(0, back.output_gradient());
      back.set_parameter_gradient(0, back.make(gradient_));
    };
  }

 private:
  std::vector<Layout> read_;
  Layout gradient_;
};

/// Trains steps of Adam with the parameters where they are placed.
void train(const Problem& problem, Parameters& parameters, std::int64_t steps) {
  const auto rule = optim::adam();
  const base::ComputeScope scope(test_threads);
  program::TuningRecord tuning_record(false);
  program::Program program(problem.graph, parameters,
                           {.batch = problem.batch, .mode = program::Mode::training, .optimizer = rule.get()},
                           tuning_record);
  base::Arena arena;
  arena.grow(program.arena_bytes());
  program.bind(arena);
  for (std::int64_t step = 1; step <= steps; ++step) {
    program.run(
        {.pixels = problem.pixels.data(), .labels = problem.labels.data(), .step = step, .learning_rate = 1e-3F});
  }
}

/// Layouts in several orders, with and without blocks.
program::LayoutPlan mixed_plan(const std::vector<Parameter>& parameters) {
  program::LayoutPlan plan = program::plain_layouts(parameters);
  for (program::LayoutPlan::Entry& entry : plan.entries) {
    if (entry.layout == Layout() || onednn::dims_of(entry.layout).size() != 4) continue;
    const onednn::Dims dims = onednn::dims_of(entry.layout);
    const bool blocked = entry.parameter % 2 == 0;
    entry.layout = onednn::tagged(dims, Type::f32, blocked ? onednn::Tag::OIhw8i8o : onednn::Tag::hwio);
  }
  return plan;
}

}  // namespace

TEST_CASE("layout plan: trained parameters come first, in the order in which backward computes their gradients") {
  const Problem problem = small_model(4);
  const auto rule = optim::sgd();
  const program::LayoutPlan plan = plan_of(problem, *rule);
  const std::vector<Parameter>& parameters = problem.graph.parameters();
  REQUIRE(plan.entries.size() == parameters.size());
  const auto place_of = [&](const std::string& name) {
    return std::ranges::find_if(plan.entries,
                                [&](const program::LayoutPlan::Entry& entry) {
                                  return parameters[static_cast<std::size_t>(entry.parameter)].name == name;
                                }) -
           plan.entries.begin();
  };
  CHECK(place_of("first.weight") < place_of("residual.conv2.weight"));
  CHECK(place_of("residual.conv2.weight") < place_of("residual.conv1.weight"));
  CHECK(place_of("residual.conv1.weight") < place_of("stem.conv.weight"));
  CHECK(std::ranges::is_partitioned(plan.entries, [&](const program::LayoutPlan::Entry& entry) {
    return parameters[static_cast<std::size_t>(entry.parameter)].is_trained();
  }));
  CHECK(plan_of(problem, *rule) == plan);
}

TEST_CASE("layout plan: copies serve one process in their own order, and processes that train together in any") {
  const Shape shape{16, 16, 3, 3};
  const Layout plain = onednn::plain(shape, Type::f32),
               blocked = onednn::tagged(shape, Type::f32, onednn::Tag::OIhw8i8o);
  const Layout plain_bf16 = onednn::with_type(plain, Type::bf16), blocked_bf16 = onednn::with_type(blocked, Type::bf16);
  struct Weight {
    std::vector<Layout> read;
    Layout gradient;
    bool alone, together;
  };
  for (const Weight& each :
       {Weight{{plain_bf16}, plain, true, true}, Weight{{plain_bf16, plain}, plain, true, false},
        Weight{{plain_bf16, blocked_bf16}, plain, true, true}, Weight{{plain}, plain, false, false},
        Weight{{blocked_bf16}, plain, false, true}, Weight{{blocked_bf16}, blocked, false, true},
        Weight{{blocked_bf16, plain}, blocked, false, false}}) {
    const Problem problem = make_problem([&](Value x) {
      return graph::apply(x.graph(), std::make_shared<const ReadsWeight>(each.read, each.gradient), "reader",
                          {relu(front(x, 16))}, {{.name = "reader.weight", .shape = shape}});
    });
    const auto rule = optim::adam();
    const std::vector<Parameter>& parameters = problem.graph.parameters();
    const auto has_copy = [&](const program::LayoutPlan& plan) {
      return std::ranges::any_of(plan.entries, [&](const program::LayoutPlan::Entry& entry) {
        return parameters[static_cast<std::size_t>(entry.parameter)].name == "reader.weight" && entry.has_bf16_copy;
      });
    };
    CAPTURE(each.read.size());
    CHECK(has_copy(plan_of(problem, *rule)) == each.alone);
    test::run_on_threads(2, [&](ProcessGroup& group) {
      CHECK(has_copy(plan_of(problem, *rule, &group.communicator())) == each.together);
    });
  }
}

TEST_CASE("layout plan: ranges are contiguous, and the values of trained parameters precede all others") {
  const Problem problem = small_model(4);
  const auto rule = optim::adam();
  Parameters parameters = program::make_parameters(problem.graph, 1, plan_of(problem, *rule));
  Parameters::State& store = parameters.state();
  store.require_slots(rule->slot_names());
  store.require_gradients();
  std::size_t end = 0;
  for (const program::LayoutPlan::Entry& entry : store.plan->entries) {
    const StoredParameter& stored = store.stored[static_cast<std::size_t>(entry.parameter)];
    CHECK(stored.offset >= end);
    CHECK(stored.offset < end + 16);
    const bool is_counter = stored.layout == Layout();
    end = stored.offset + (is_counter ? 2 : stored.layout.get_size() / sizeof(float));
    const bool is_trained = store.list[static_cast<std::size_t>(entry.parameter)].is_trained();
    CHECK((end <= store.trained_elements) == is_trained);
  }
  CHECK(store.values.size() >= end * sizeof(float));
  CHECK(store.gradients.size() == store.trained_elements * sizeof(float));
  REQUIRE(store.slots.size() == 2);
  CHECK(store.slots[0].size() == store.gradients.size());
}

TEST_CASE("layout plan: values, counters and slots stay when they are placed anew") {
  const Problem problem = small_model(4);
  Parameters parameters = random_parameters(problem.graph);
  {
    TrainingSession training(problem, parameters);
    training.step(problem, 1);
    CHECK_THROWS_WITH_AS(parameters.state().place(mixed_plan(parameters.list())),
                         doctest::Contains("cannot be placed anew"), Error);
  }
  const auto before = snapshot(parameters);
  const int weight = parameters.find("residual.conv1.weight");
  const std::vector<float> slot = parameters.state().get_slot(weight, 1);
  parameters.state().place(mixed_plan(parameters.list()));
  CHECK(snapshot(parameters) == before);
  CHECK(parameters.state().get_slot(weight, 1) == slot);
}

TEST_CASE("layout plan: a store needs a place for each parameter, and only trained parameters have slots") {
  const Problem problem = small_model(4);
  program::LayoutPlan missing = program::plain_layouts(problem.graph.parameters()), twice = missing;
  missing.entries.pop_back();
  twice.entries.push_back(twice.entries.back());
  CHECK_THROWS_WITH_AS(program::make_parameters(problem.graph, 1, missing), doctest::Contains("lacks parameter"),
                       Error);
  CHECK_THROWS_WITH_AS(program::make_parameters(problem.graph, 1, twice), doctest::Contains("twice"), Error);
  Parameters parameters(problem.graph, 1);
  parameters.state().require_slots({"exp_avg"});
  const int weight = parameters.find("stem.conv.weight"), mean = parameters.find("stem.bn.running_mean");
  CHECK(parameters.state().get_slot(weight, 0) == std::vector<float>(16 * 3 * 7 * 7));
  CHECK_THROWS_AS(parameters.state().get_slot(weight, 1), Error);
  CHECK_THROWS_AS(parameters.state().get_slot(mean, 0), Error);
  CHECK_THROWS_AS(parameters.state().set_slot(mean, 0, std::vector<float>(16)), Error);
}

TEST_CASE("layout plan: a step gives the same bits with parameters in any layout") {
  const Problem problem = small_model(6);
  const auto rule = optim::adam();
  std::vector<std::vector<float>> expected;
  for (const bool mixed : {false, true}) {
    Parameters parameters = program::make_parameters(
        problem.graph, 5, mixed ? mixed_plan(problem.graph.parameters()) : plan_of(problem, *rule));
    train(problem, parameters, 3);
    if (mixed) CHECK(snapshot(parameters) == expected);
    expected = snapshot(parameters);
  }
}

TEST_CASE("layout plan: bf16 copies follow updates and values that are set") {
  const Problem problem = small_model(6);
  program::LayoutPlan plan = program::plain_layouts(problem.graph.parameters());
  for (program::LayoutPlan::Entry& entry : plan.entries) {
    entry.has_bf16_copy = problem.graph.parameters()[static_cast<std::size_t>(entry.parameter)].is_trained();
  }
  Parameters parameters = program::make_parameters(problem.graph, 5, plan);
  const auto check_copies = [&] {
    for (int i = 0; i < static_cast<int>(parameters.list().size()); ++i) {
      const Parameter& parameter = parameters.list()[static_cast<std::size_t>(i)];
      const std::uint16_t* const copy = parameters.state().bf16_copy(i);
      CAPTURE(parameter.name);
      CHECK((copy != nullptr) == parameter.is_trained());
      if (copy == nullptr) continue;
      const float* const value = parameters.state().value(i);
      std::int64_t wrong = 0;
      for (std::int64_t j = 0; j < element_count(parameter.shape); ++j) wrong += copy[j] != nearest_bf16(value[j]);
      CHECK(wrong == 0);
    }
  };
  check_copies();
  const auto before = snapshot(parameters);
  train(problem, parameters, 1);
  CHECK(snapshot(parameters) != before);
  check_copies();
  for (int i = 0; i < static_cast<int>(before.size()); ++i) parameters.set(i, before[static_cast<std::size_t>(i)]);
  check_copies();
}

TEST_CASE("layout plan: text is read back as the same plan") {
  const Problem problem = small_model(4);
  const std::vector<Parameter>& parameters = problem.graph.parameters();
  const auto rule = optim::adam();
  program::LayoutPlan rounded = plan_of(problem, *rule);
  for (program::LayoutPlan::Entry& entry : rounded.entries) {
    const bool is_trained = parameters[static_cast<std::size_t>(entry.parameter)].is_trained();
    entry.has_bf16_copy = is_trained && !onednn::write_order(entry.layout).empty();
  }
  for (const program::LayoutPlan& plan : {program::plain_layouts(parameters), mixed_plan(parameters), rounded}) {
    const std::string text = program::to_text(plan, parameters);
    CAPTURE(text);
    CHECK(program::read_layout_plan("rank 0", text, parameters) == plan);
  }
}

TEST_CASE("layout plan: an order without a name is replaced by PyTorch's before it is written") {
  // oneDNN gives the weights of a linear layer that reads a blocked image two inner blocks, which no tag describes.
  const Problem problem =
      make_problem([](Value x) { return linear(flatten(front(x, 16)), {.features = 48, .name = "hidden"}); });
  const std::vector<Parameter>& parameters = problem.graph.parameters();
  program::LayoutPlan plan = program::plain_layouts(parameters);
  for (program::LayoutPlan::Entry& entry : plan.entries) {
    if (parameters[static_cast<std::size_t>(entry.parameter)].name != "hidden.weight") continue;
    const onednn::Dims dims{48, 16, 7, 6};
    const auto forward = onednn::describe<dnnl::inner_product_forward>(
        onednn::attributes(), dnnl::prop_kind::forward_training,
        onednn::tagged({8, 16, 7, 6}, Type::f32, onednn::Tag::nChw8c), onednn::any(dims, Type::f32),
        onednn::plain({48}, Type::f32), onednn::plain({8, 48}, Type::f32));
    entry.layout = forward.weights_desc();
  }
  const program::LayoutPlan named = program::with_named_orders(plan);
  CHECK(program::read_layout_plan("rank 0", program::to_text(named, parameters), parameters) == named);
  if (named == plan) {
    MESSAGE("this oneDNN's order of the weights has a name");
  } else {
    CHECK_THROWS_WITH_AS(program::to_text(plan, parameters), doctest::Contains("hidden.weight"), Error);
  }
}

TEST_CASE("layout plan: text that is not a plan of the parameters is refused") {
  const Problem problem = small_model(4);
  const std::vector<Parameter>& parameters = problem.graph.parameters();
  const std::string text = program::to_text(program::plain_layouts(parameters), parameters);
  const auto refuses = [&](std::string hostile, const char* part) {
    CAPTURE(hostile);
    CHECK_THROWS_WITH_AS(program::read_layout_plan("rank 0", hostile, parameters), doctest::Contains(part), Error);
  };
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    REQUIRE(changed.find(from) != std::string::npos);
    return changed.replace(changed.find(from), from.size(), to);
  };
  refuses("", "is missing");
  refuses(text + text, "is there twice");
  refuses(text.substr(0, text.find('\n') + 1), "is missing");
  refuses("nonsense", "line 1: 1 fields found; 4 are needed");
  refuses(with("stem.conv.weight", "stem.conv.wait"), "line 1: the model has no parameter 'stem.conv.wait'");
  refuses(with("strides ", "strides -"), "the order of elements 'strides -");
  refuses(with("strides ", "strides 1,"), "dimensions is needed");
  refuses(with("strides ", "OIhw99i99o "), "OIhw99i99o");
  refuses(with("\tf32\n", "\tf64\n"), "types 'f64' found");
  refuses(with("strides 147,49,7,1", "strides 0,49,7,1"), "one without gaps is needed");
  refuses(with("strides 147,49,7,1", "strides 147,49,7,7"), "'strides 147,49,7,7' found");
  refuses(with("strides 147,49,7,1", "strides 294,98,14,2"), "one without gaps is needed");
  refuses(with("16x3x7x7", "1x1x1x1x1x1x1x1x1x1x1x1x2352"), "extents");
  refuses(with("stem.bn.running_mean\t16\tstrides 1\tf32", "stem.bn.running_mean\t16\tstrides 1\tf32+bf16"),
          "a bf16 copy of 'stem.bn.running_mean' found");
  refuses(with("stem.bn.running_mean\t16\tstrides 1", "stem.bn.running_mean\t4x4\tstrides 1,4"),
          "PyTorch's, since it is not trained, is needed");
  refuses(with("\t-\t-\ts64", "\t-\t-\tf32"), "needs '-', '-' and 's64'");
  refuses(with("16x3x7x7", "16x3x7x0"), "extents '16x3x7x0'");
  refuses(with("16x3x7x7", "16x3x7x99999999999999999999"), "extents");
}

}  // namespace facet::testing
