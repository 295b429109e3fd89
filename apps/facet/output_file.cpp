#include "output_file.h"

#include <fmt/format.h>

#include "options.h"

namespace facet::app {

OutputFile::OutputFile(const std::string& name) : name_(name) {
  if (name.empty()) return;
  std::error_code error;
  if (std::filesystem::exists(name, error) && !std::filesystem::is_regular_file(name, error)) {
    throw UsageError(fmt::format("{} is there and isn't a plain file: it won't be replaced", name));
  }
  file_.emplace(name);
}

void OutputFile::write(const std::string& text) {
  if (file_) file_->write(text);
}

void OutputFile::commit() {
  if (file_) file_->commit();
}

void write_file(const std::filesystem::path& file, const std::string& text) {
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
