#include "graph/op.h"

#include <fmt/format.h>

#include "facet/error.h"

namespace facet {

Operand Op::write_operators(OperatorWriter&) const {
  throw Error(fmt::format("{} can't be written for other programs: it has no form in ONNX's operators", kind()));
}

}  // namespace facet
