#include <doctest/doctest.h>

#include "facet/error.h"
#include "ops/network.h"

namespace facet::testing {

TEST_CASE("concat: gradients against finite differences") {
  SUBCASE("multiples of 16 channels") {
    check_gradients(make_problem([](Value x) {
      x = front(x, 16);
      return concat({x, convolution(x, {.channels = 32})});
    }));
  }
  SUBCASE("odd channels, three values") {
    check_gradients(make_problem([](Value x) {
      x = front(x, 3);
      return concat({convolution(x, {.channels = 5, .name = "a"}), x, convolution(x, {.channels = 2, .name = "b"})});
    }));
  }
  SUBCASE("with itself") {
    check_gradients(make_problem([](Value x) {
      x = front(x, 8);
      return concat({x, x});
    }));
  }
}

/// Appends `channels` channels to the input, as a layer of a dense block does.
Value grown(Value x, std::int64_t channels, const std::string& name) {
  const Value y = batch_norm(x, {.name = name + ".norm"});
  return concat({x, convolution(y, {.channels = channels, .name = name + ".conv"})});
}

TEST_CASE("concat: chains that each begin with the one before, gradients against finite differences") {
  SUBCASE("a dense block, and its normalisation") {
    check_gradients(make_problem(
        [](Value x) {
          x = grown(grown(grown(front(x, 5, 1), 3, "a"), 16, "b"), 1, "c");
          return batch_norm(x, {.name = "last"});
        },
        {}));
  }
  SUBCASE("other readers in between, and two that begin with the same value") {
    check_gradients(make_problem([](Value x) {
      const Value a = concat({front(x, 4), x});
      const Value b = concat({a, convolution(a, {.channels = 2, .name = "b"}), a});
      const Value c = concat({a, convolution(b, {.channels = 9, .name = "c"})});
      return add(add(convolution(b, {.channels = 16, .name = "d"}), c), convolution(a, {.channels = 16, .name = "e"}));
    }));
  }
  SUBCASE("the last one is also read by an add") {
    check_gradients(make_problem([](Value x) {
      const Value a = concat({front(x, 4), convolution(x, {.channels = 4, .name = "a"})});
      const Value b = concat({a, a});
      return add(b, convolution(b, {.channels = 16, .name = "b"}));
    }));
  }
}

TEST_CASE("concat: one that begins with the one before doesn't copy it") {
  const Problem problem = make_problem([](Value x) { return grown(grown(front(x, 8), 8, "a"), 8, "b"); });
  Parameters parameters = random_parameters(problem.graph);
  const Session session = gradient_session(problem, parameters);
  std::int64_t copies = 0;
  for (const program::InstructionInfo& instruction : session.program().instructions()) {
    copies += instruction.implementation == "facet:copy_rows" ? 1 : 0;
    CHECK(instruction.name.find("gradient_sum") == std::string::npos);
  }
  // One copy per concat in forward; in backward the gradients of the input, of a's channels and of b's channels.
  CHECK(copies == 2 + 3);
}

TEST_CASE("concat: shapes") {
  Graph graph;
  const Value x = graph.input({3, 6, 6});
  CHECK(concat({x, front(x, 8), x}).shape() == Shape{14, 6, 6});
  CHECK_THROWS_AS(concat({x, max_pool(x, {})}), Error);
}

}  // namespace facet::testing
