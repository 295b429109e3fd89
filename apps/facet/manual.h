#pragma once

#include <string>
#include <vector>

#include "command.h"

namespace facet::app {

/// `facet --help`.
std::string manual(const std::vector<Command>& commands);

/// `facet COMMAND --help`.
std::string manual(const Command& command);

}  // namespace facet::app
