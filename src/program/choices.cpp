#include "program/choices.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "data/read_file.h"
#include "facet/error.h"

namespace facet::program {

Choices Choices::load(const std::filesystem::path& file, bool tune) {
  Choices choices(tune);
  const std::string text = data::read_text(file);
  try {
    const auto json = nlohmann::json::parse(text);
    choices.chosen_ = json.at("choices").get<std::map<std::string, std::string>>();
  } catch (const nlohmann::json::exception&) {
    throw Error(
        fmt::format("{}: no file of choices found; JSON as {{\"choices\": {{\"KEY\": \"CANDIDATE\", ...}}}} needed",
                    file.string()));
  }
  return choices;
}

void Choices::save(const std::filesystem::path& file) const {
  base::AtomicFile out(file);
  out.write(nlohmann::json{{"choices", chosen_}}.dump(1) + "\n");
  out.commit();
}

std::string Choices::find(const std::string& key) const {
  const auto found = chosen_.find(key);
  return found != chosen_.end() ? found->second : std::string();
}

void Choices::record(const std::string& key, const std::string& candidate) { chosen_[key] = candidate; }

void Choices::record_measured(const std::string& key, const std::string& candidate) {
  record(key, candidate);
  measured_.insert(key);
}

}  // namespace facet::program
