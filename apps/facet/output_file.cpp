#include "output_file.h"

#include <fmt/format.h>

#include <map>
#include <system_error>

#include "facet/error.h"
#include "train/file_system.h"

namespace facet::app {
namespace fs = std::filesystem;

fs::path output_path(const std::string& name) { return name == standard_output ? "/proc/self/fd/1" : name; }

OutputFile::OutputFile(const std::string& name) : name_(name) {
  if (name.empty()) return;
  std::error_code ignored;
  if (fs::is_directory(name, ignored)) throw UsageError(name + " is a folder; a file is needed");
  const SignalsHeldBack held_back;
  file_.emplace(output_path(name));
  if (!file_->temporary().empty()) removed_on_signal_.emplace(file_->temporary());
}

void OutputFile::write(const std::string& text) {
  if (file_) file_->write(text);
}

void OutputFile::commit() {
  if (file_) file_->commit();
}

void require_different_files(const Options& options, const std::vector<std::string>& names) {
  std::map<fs::path, std::string> taken;
  for (const std::string& name : names) {
    const std::string value = options.text(name);
    if (value.empty()) continue;
    const fs::path file = value == standard_output ? fs::path(value) : base::where_links_lead(value);
    std::error_code ignored;
    if (value != standard_output && fs::exists(file, ignored) && !fs::is_regular_file(file, ignored)) continue;
    const auto [other, is_new] = taken.emplace(file, options.origin(name));
    if (is_new) continue;
    throw UsageError(fmt::format("{} and {} are the same file, {}", other->second, options.origin(name), value));
  }
}

void write_file(const fs::path& file, const std::string& text) {
  if (train::is_there(file) && !train::is_file(file)) {  // a FIFO would wait for a reader
    throw Error(fmt::format("{}: is not a regular file", file.string()));
  }
  base::AtomicFile output(file);
  output.write(text);
  output.commit();
}

std::string csv_line(const std::vector<std::string>& fields) {
  std::string line;
  for (const std::string& field : fields) {
    if (&field != &fields.front()) line += ',';
    if (field.find_first_of(",\"\r\n") == std::string::npos) {
      line += field;
      continue;
    }
    line += '"';
    for (const char c : field) line += c == '"' ? "\"\"" : std::string(1, c);
    line += '"';
  }
  return line + '\n';
}

}  // namespace facet::app
