#include "commands/benchmark_results.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "facet/error.h"
#include "facet/files.h"

namespace facet::app {

namespace {

using nlohmann::json;

/// Returns a member of an object; JSON's null if the object lacks it.
const json& member(const json& object, const char* name) {
  static const json none;
  const auto found = object.find(name);
  return found != object.end() ? *found : none;
}

std::string text(const json& object, const char* name) {
  const json& value = member(object, name);
  if (value.is_null()) return {};
  if (!value.is_string()) throw Error(fmt::format("\"{}\" is {}; a string is needed", name, value.dump()));
  return value;
}

std::optional<std::int64_t> count(const json& object, const char* name) {
  const json& value = member(object, name);
  if (value.is_null()) return std::nullopt;
  if (!value.is_number_integer() || value < 0) {
    throw Error(fmt::format("\"{}\" is {}; a whole number is needed", name, value.dump()));
  }
  return value.get<std::int64_t>();
}

std::optional<double> rate(const json& object, const char* name) {
  const json& value = member(object, name);
  if (value.is_null()) return std::nullopt;
  if (!value.is_number() || !(value.get<double>() > 0) || !std::isfinite(value.get<double>())) {
    throw Error(fmt::format("\"{}\" is {}; a number above 0 is needed", name, value.dump()));
  }
  return value.get<double>();
}

void read_rates(const json& object, const char* name, Benchmark& benchmark) {
  const json& given = member(object, name);
  std::optional<double> median;
  if (given.is_object()) {
    median = rate(given, "median");
    benchmark.slowest = rate(given, "min");
    benchmark.fastest = rate(given, "max");
  } else {
    median = rate(object, name);
  }
  if (!median) throw Error(fmt::format("no \"{}\" found: a number, or an object with \"median\"", name));
  benchmark.rate = *median;
}

Benchmark read_one(const json& object) {
  if (!object.is_object()) throw Error("a JSON object is needed");
  Benchmark benchmark;
  const bool is_sum = member(object, "bench") == "allreduce";
  benchmark.measured = is_sum ? Measured::sums : Measured::steps;
  read_rates(object, is_sum ? "gb_per_s" : "images_per_s", benchmark);
  benchmark.framework = text(object, "framework");
  benchmark.model = text(object, "model");
  benchmark.mode = text(object, "mode");
  benchmark.precision = text(object, object.contains("precision") ? "precision" : "dtype");
  const json& machine = member(object, "machine");
  benchmark.device = machine.is_object() ? text(machine, "cpu") : text(object, "device");
  benchmark.batch = count(object, "batch");
  benchmark.threads = count(object, "threads");
  if (is_sum) {
    benchmark.sum = text(object, "name");
    benchmark.function = text(object, "function");
    benchmark.ranks = count(object, "ranks");
    benchmark.hosts = count(object, "hosts");
  }
  benchmark.peak_resident_bytes = count(object, "peak_resident_bytes");
  if (const auto mebibytes = count(object, "peak_rss_mib"); mebibytes && !benchmark.peak_resident_bytes) {
    benchmark.peak_resident_bytes = *mebibytes << 20;
  }
  return benchmark;
}

/// Returns the JSON objects of a text with the numbers of their first lines.
std::vector<std::pair<int, json>> objects_of(const std::string& content) {
  json whole = json::parse(content, nullptr, false);
  if (!whole.is_discarded()) return {{1, std::move(whole)}};
  std::vector<std::pair<int, json>> objects;
  std::istringstream lines(content);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    json object = json::parse(line, nullptr, false);
    if (object.is_discarded()) throw Error(fmt::format("{}: the line isn't JSON", number));
    objects.emplace_back(number, std::move(object));
  }
  return objects;
}

}  // namespace

std::vector<Benchmark> read_benchmarks(const std::filesystem::path& file) {
  const std::string content = read_text(file);
  std::vector<std::pair<int, json>> objects;
  try {
    objects = objects_of(content);
  } catch (const Error& error) {
    throw error.with_prefix(file.string() + ":");
  }
  if (objects.empty())
    throw Error(fmt::format("{}: no result found; JSON as bench_training writes it is needed", file.string()));
  std::vector<Benchmark> benchmarks;
  for (const auto& [line, object] : objects) {
    try {
      benchmarks.push_back(read_one(object));
    } catch (const Error& error) {
      throw error.with_prefix(fmt::format("{}:{}: ", file.string(), line));
    }
    const std::string stem = file.stem().string();
    benchmarks.back().name = benchmarks.size() == 1 ? stem : fmt::format("{}#{}", stem, benchmarks.size());
  }
  return benchmarks;
}

}  // namespace facet::app
