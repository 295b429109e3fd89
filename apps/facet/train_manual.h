#pragma once

#include "command.h"

namespace facet::app {

/// The command `train` without its function.
Command train_manual();

}  // namespace facet::app
