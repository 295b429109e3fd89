#pragma once

#include <memory>

#include "facet/graph.h"
#include "graph/op.h"

namespace facet::testing {

/// An op whose output has the shape that its constructor was given.
class SomeOp final : public graph::Op {
 public:
  explicit SomeOp(Shape shape) : shape_(std::move(shape)) {}
  std::string_view kind() const override { return "some"; }
  Shape infer_shape(const std::vector<Shape>&) const override { return shape_; }

 private:
  Shape shape_;
};

inline Value apply_some(Value x, std::string_view name, Shape shape = {8}) {
  return graph::apply(x.graph(), std::make_shared<const SomeOp>(std::move(shape)), name, {x});
}

}  // namespace facet::testing
