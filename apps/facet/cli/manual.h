#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cli/command.h"

namespace facet::app {

// The manual of the program and of its commands, as text, as man pages and for the completion of command lines. All of
// it is made of commands().

/// The page that `facet --help` prints.
std::string manual(const std::vector<Command>& commands);
/// The page that `facet COMMAND --help` prints.
std::string manual(const Command& command);

/// The same pages in the language of man (groff's -man macros): facet.1 and facet-COMMAND.1.
std::string man_page(const std::vector<Command>& commands);
std::string man_page(const Command& command);

/// A script that completes commands, options and values in bash or zsh.
std::string bash_completion(const std::vector<Command>& commands);
std::string zsh_completion(const std::vector<Command>& commands);

// Parts of these.

/// The program as a whole, as if it were a command without a name.
Command overview();
/// All exit statuses of a command, and their meanings.
std::vector<std::pair<std::string, std::string>> exit_statuses(const Command& command);
/// An option with the placeholder of its value, such as "--epochs N".
std::string term_of(const Option& option);
/// What an option does, and its default value.
std::string meaning_of(const Option& option);

}  // namespace facet::app
