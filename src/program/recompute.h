#pragma once

#include <cstddef>

#include "program/compiled.h"

namespace facet::program {

/// Lets backward run recomputable steps of forward once more, in front of the first step that reads what they wrote, so
/// that it need not be kept until then: those of them that lower the peak of the memory alive. Their names end in
/// ".recompute". All other steps, and all values, stay as they are.
/// @param forward_steps how many of the steps, the first ones, are forward.
void recompute(Compiled& compiled, std::size_t forward_steps);

}  // namespace facet::program
