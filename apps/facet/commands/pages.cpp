#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "cli/command.h"
#include "cli/manual.h"
#include "cli/output_file.h"
#include "cli/terminal.h"

namespace facet::app {
namespace {

int run_completion(Options& options) {
  const std::string shell = only_argument(options, "SHELL");
  if (shell != "bash" && shell != "zsh") {
    throw UsageError(fmt::format("SHELL is '{}'; allowed: bash, zsh", shell));
  }
  print_out("{}", shell == "bash" ? bash_completion(commands()) : zsh_completion(commands()));
  return 0;
}

int run_man(Options& options) {
  const std::vector<Command> all = commands();
  if (const std::string out = options.text("out"); !out.empty()) {
    if (!options.arguments().empty()) {
      throw UsageError(fmt::format("'{}' isn't allowed with --out, which writes the pages of all commands",
                                   options.arguments().front()));
    }
    const std::filesystem::path folder(out);
    write_file(folder / "facet.1", man_page(all));
    for (const Command& command : all) write_file(folder / fmt::format("facet-{}.1", command.name), man_page(command));
    return 0;
  }
  if (options.arguments().empty()) {
    print_out("{}", man_page(all));
    return 0;
  }
  const std::string name = only_argument(options, "COMMAND");
  const auto found = std::ranges::find(all, name, &Command::name);
  if (found == all.end()) {
    std::vector<std::string> names;
    for (const Command& command : all) names.push_back(command.name);
    throw UsageError(fmt::format("there is no command '{}'{}", name, did_you_mean(name, names)));
  }
  print_out("{}", man_page(*found));
  return 0;
}

}  // namespace

Command completion_command() {
  Command command;
  command.name = "completion";
  command.summary = "print the script by which bash or zsh completes facet's command lines";
  command.usage = "SHELL";
  command.description =
      "Prints a script that completes commands, options and their values; a shell reads it as below. `cmake --install` "
      "also puts it below share/, where bash finds it with the package bash-completion, and zsh where fpath has the "
      "folder share/zsh/site-functions. SHELL is bash or zsh.";
  command.examples = {{"in ~/.bashrc", "source <(facet completion bash)"},
                      {"in a folder of zsh's fpath", "facet completion zsh > ~/.zfunc/_facet"}};
  command.run = run_completion;
  return command;
}

Command man_command() {
  Command command;
  command.name = "man";
  command.summary = "print a page of the manual for man";
  command.usage = "[COMMAND] [options]";
  command.description =
      "Prints the page facet(1), or facet-COMMAND(1), in the language of man. The text is that of --help. `cmake "
      "--install` installs these pages.";
  command.groups = {
      {"Results",
       {{.name = "out",
         .argument = "DIR",
         .help = "write the pages of all commands to a folder that exists, as facet.1, facet-train.1 and so on"}}}};
  command.examples = {{"", "facet man train | man -l -"}};
  command.run = run_man;
  return command;
}

}  // namespace facet::app
