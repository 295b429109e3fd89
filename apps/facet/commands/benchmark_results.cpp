#include "commands/benchmark_results.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>

#include "facet/error.h"
#include "facet/files.h"

namespace facet::app {

namespace {

using Json = nlohmann::json;

/// Returns a member of an object; JSON's null if the object lacks it.
const Json& member(const Json& object, const char* name) {
  static const Json none;
  const auto found = object.find(name);
  return found != object.end() ? *found : none;
}

std::string text(const Json& object, const char* name) {
  const Json& value = member(object, name);
  if (value.is_null()) return {};
  if (!value.is_string()) throw Error(fmt::format("\"{}\" is {}; a string is needed", name, value.dump()));
  return value;
}

constexpr std::int64_t most_count = std::int64_t{1} << 50;

/// Returns a number that `is_good`. @param needed what is needed: "a number above 0 is needed".
std::optional<double> number(const Json& object, const char* name, bool (*is_good)(double), const char* needed) {
  const Json& value = member(object, name);
  if (value.is_null()) return std::nullopt;
  if (!value.is_number() || !is_good(value.get<double>())) {
    throw Error(fmt::format("\"{}\" is {}; {}", name, value.dump(), needed));
  }
  return value.get<double>();
}

std::optional<double> rate(const Json& object, const char* name) {
  return number(
      object, name, [](double rate) { return rate > 0 && std::isfinite(rate); }, "a number above 0 is needed");
}

std::optional<std::int64_t> count(const Json& object, const char* name, std::int64_t low = 0,
                                  std::int64_t high = most_count) {
  const Json& value = member(object, name);
  if (value.is_null()) return std::nullopt;
  const double number = value.is_number_integer() ? value.get<double>() : -1;  // it may be beyond std::int64_t
  if (!(number >= static_cast<double>(low) && number <= static_cast<double>(high))) {
    throw Error(fmt::format("\"{}\" is {}; a whole number from {} to {} is needed", name, value.dump(), low, high));
  }
  return value.get<std::int64_t>();
}

/// Returns a value that the object must have. @param kind what it is: "a whole number". @throws Error if it's missing.
template <class T>
T needed(const std::optional<T>& value, const char* name, const char* kind) {
  if (!value) throw Error(fmt::format("no \"{}\" found: {} is needed", name, kind));
  return *value;
}

/// Calls `read` of what lies at a path, which begins the message of an Error that it throws.
auto at(const std::string& path, const auto& read) {
  try {
    return read();
  } catch (const Error& error) {
    throw error.with_prefix(path + ": ");
  }
}

void read_rates(const Json& object, const char* name, Benchmark& benchmark) {
  const Json& given = member(object, name);
  std::optional<double> median;
  if (given.is_object()) {
    at(name, [&] {
      median = rate(given, "median");
      benchmark.slowest = rate(given, "min");
      benchmark.fastest = rate(given, "max");
    });
  } else {
    median = rate(object, name);
  }
  benchmark.rate = needed(median, name, "a number, or an object with \"median\",");
}

Benchmark read_benchmark(const Json& object) {
  if (!object.is_object()) throw Error("a JSON object is needed");
  Benchmark benchmark;
  const bool is_sum = member(object, "bench") == "allreduce";
  benchmark.measured = is_sum ? Measured::sums : Measured::steps;
  read_rates(object, is_sum ? "gb_per_s" : "images_per_s", benchmark);
  benchmark.framework = text(object, "framework");
  benchmark.model = text(object, "model");
  benchmark.mode = text(object, "mode");
  const Json& size = member(object, "size");
  benchmark.size = size.is_null() ? "" : size.is_string() ? size.get<std::string>() : size.dump();
  benchmark.precision = text(object, object.contains("precision") ? "precision" : "dtype");
  const Json& machine = member(object, "machine");
  benchmark.device = machine.is_object() ? text(machine, "cpu") : text(object, "device");
  benchmark.batch = count(object, "batch");
  benchmark.threads = count(object, "threads");
  benchmark.ranks = count(object, "ranks");
  benchmark.hosts = count(object, "hosts");
  if (is_sum) {
    benchmark.sum = text(object, "name");
    benchmark.function = text(object, "function");
  }
  if (member(object, "bench") == "scaling") benchmark.scaling = text(object, "name");
  benchmark.joules_per_image = rate(object, "joules_per_image");
  benchmark.peak_resident_bytes = count(object, "peak_resident_bytes");
  if (const auto mebibytes = count(object, "peak_rss_mib", 0, most_count >> 20);
      mebibytes && !benchmark.peak_resident_bytes) {
    benchmark.peak_resident_bytes = *mebibytes << 20;
  }
  return benchmark;
}

/// Returns a time in milliseconds that the object must have, in seconds.
double needed_time(const Json& object, const char* name) {
  const auto milliseconds = number(
      object, name, [](double ms) { return ms >= 0 && ms <= 1e9; }, "milliseconds from 0 to 1000000000 are needed");
  return needed(milliseconds, name, "a time in milliseconds") * 1e-3;
}

NodeBucket read_bucket(const Json& object, double step) {
  if (!object.is_object()) throw Error("an object is needed");
  NodeBucket bucket;
  const std::int64_t bytes = needed(count(object, "bytes", 1), "bytes", "a whole number");
  bucket.reduced_bytes = static_cast<double>(bytes);
  bucket.gathered_bytes = static_cast<double>(count(object, "gathered_bytes", 1).value_or(bytes));
  const double tolerance = 0.1 * step;
  // Forward reads the weights before backward completes their gradients, and both are medians over the steps.
  const auto time_up_to = [&](const char* name, double last, const char* of) {
    const double time = needed_time(object, name);
    if (time <= last + tolerance) return std::min(time, last);
    throw Error(
        fmt::format("\"{}\" is {}; at most {}, {:g}, is allowed", name, member(object, name).dump(), of, last * 1e3));
  };
  bucket.ready = time_up_to("ready_ms", step, "the median of \"step_ms\"");
  bucket.needed = time_up_to("needed_ms", bucket.ready, "\"ready_ms\"");
  return bucket;
}

NodeStep read_node_step(const Json& object) {
  NodeStep step;
  const Json& times = member(object, "step_ms");
  if (!times.is_object()) throw Error("no \"step_ms\" found: an object with \"median\" is needed");
  at("step_ms", [&] {
    step.seconds = needed_time(times, "median");
    if (step.seconds == 0) throw Error("\"median\" is 0; a time above 0 is needed");
  });
  const Json& buckets = member(object, "buckets");
  if (!buckets.is_array()) throw Error("\"buckets\" is no array");
  for (const Json& bucket : buckets) {
    at(fmt::format("buckets[{}]", step.buckets.size()),
       [&] { step.buckets.push_back(read_bucket(bucket, step.seconds)); });
  }
  return step;
}

/// How many of the conditions in turn a result meets to stand for a node, and what is wrong where one isn't met.
struct Suitability {
  int met = 0;
  std::string_view wrong = "no result is one of training that bench_scaling has measured";
};

Suitability suitability(const Json& object) {
  if (member(object, "bench") != "scaling" || member(object, "mode") != "training") return {};
  if (member(object, "hosts") != 1) return {1, "its results of bench_scaling are of several hosts; a node is one host"};
  if (member(object, "buckets").empty()) return {2, "its results of one host are of one rank, which exchanges nothing"};
  return {3, ""};
}

NodeResult read_node_result(const Json& object) {
  const Benchmark benchmark = read_benchmark(object);
  NodeResult result;
  result.name = benchmark.scaling;
  result.model = benchmark.model;
  result.size = benchmark.size;
  result.precision = benchmark.precision;
  result.device = benchmark.device;
  result.reduce = text(object, "reduce");
  if (result.reduce != "f32" && result.reduce != "bf16") {
    throw Error(fmt::format("\"reduce\" is {}; f32 or bf16 is needed", member(object, "reduce").dump()));
  }
  constexpr std::int64_t most = 1'000'000;  // far beyond any real one
  const auto needed_count = [&](const char* name, std::int64_t low) {
    return needed(count(object, name, low, most), name, "a whole number");
  };
  result.ranks = needed_count("ranks", 2);
  result.threads = needed_count("threads", 1);
  result.batch = needed_count("batch", result.ranks);
  result.step = read_node_step(object);
  return result;
}

/// Returns the JSON objects of a text with the numbers of their first lines.
std::vector<std::pair<int, Json>> objects_of(const std::string& content) {
  Json whole = Json::parse(content, nullptr, false);
  if (!whole.is_discarded()) return {{1, std::move(whole)}};
  std::vector<std::pair<int, Json>> objects;
  std::istringstream lines(content);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    Json object = Json::parse(line, nullptr, false);
    if (object.is_discarded()) throw Error(fmt::format("{}: the line isn't JSON", number));
    objects.emplace_back(number, std::move(object));
  }
  return objects;
}

/// Returns the JSON objects of a file with the numbers of their first lines.
/// @param writer a program that writes such files. @throws Error naming the file; also where it holds none.
std::vector<std::pair<int, Json>> read_objects(const std::filesystem::path& file, const char* writer) {
  const std::string content = read_text(file);
  std::vector<std::pair<int, Json>> objects;
  try {
    objects = objects_of(content);
  } catch (const Error& error) {
    throw error.with_prefix(file.string() + ":");
  }
  if (objects.empty()) {
    throw Error(fmt::format("{}: no result found; JSON as {} writes it is needed", file.string(), writer));
  }
  return objects;
}

}  // namespace

std::vector<Benchmark> read_benchmarks(const std::filesystem::path& file) {
  std::vector<Benchmark> benchmarks;
  for (const auto& [line, found] : read_objects(file, "bench_training")) {
    at(fmt::format("{}:{}", file.string(), line),
       [&, &object = found] { benchmarks.push_back(read_benchmark(object)); });
    const std::string stem = file.stem().string();
    benchmarks.back().file = stem;
    benchmarks.back().name = benchmarks.size() == 1 ? stem : fmt::format("{}#{}", stem, benchmarks.size());
  }
  return benchmarks;
}

std::vector<NodeResult> read_node_results(const std::filesystem::path& file) {
  std::vector<NodeResult> results;
  Suitability nearest;
  for (const auto& [line, found] : read_objects(file, "bench_scaling")) {
    const std::string origin = fmt::format("{}:{}", file.string(), line);
    at(origin, [&, &object = found] {
      if (!object.is_object()) throw Error("a JSON object is needed");
      const Suitability now = suitability(object);
      if (now.met > nearest.met) nearest = now;
      if (!now.wrong.empty()) return;
      results.push_back(read_node_result(object));
      results.back().origin = origin;
    });
  }
  if (!results.empty()) return results;
  throw Error(fmt::format("{}: {}; mpirun -n 2 bench_scaling --json node.json measures a node of two ranks",
                          file.string(), nearest.wrong));
}

}  // namespace facet::app
