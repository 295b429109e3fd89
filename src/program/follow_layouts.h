#pragma once

#include "program/compiled.h"
#include "program/parameter_store.h"
#include "program/prepared_memory.h"

namespace facet::program {

/// After the first training program has put parameters into other layouts: lets a program that was compiled before read
/// them from where they lie now. Its buffers must be bound again.
/// @param memory for what they are read from, where that is no longer the parameter itself.
void follow_layouts(Compiled& compiled, const Parameters::State& parameters, PreparedMemory& memory);

}  // namespace facet::program
