#pragma once

#include "command.h"

namespace facet::app {

/// The command `reproduce` without its function.
Command reproduce_manual();

}  // namespace facet::app
