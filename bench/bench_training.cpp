#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/atomic_file.h"
#include "base/machine.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/random.h"
#include "facet/data.h"
#include "facet/error.h"
#include "facet/graph.h"
#include "facet/instructions.h"
#include "facet/models.h"
#include "facet/parameters.h"
#include "facet/precision.h"
#include "onednn/onednn.h"
#include "optim/optimizer.h"
#include "profile.h"
#include "program/program.h"

/// Throughput of a step on synthetic pixels: training (forward, backward, update) or inference.

namespace {

using namespace facet;
namespace po = boost::program_options;
using Clock = std::chrono::steady_clock;

struct Options {
  std::string model = "reference", precision = "f32", mode = "training", json, trace, instructions;
  std::int64_t batch = 64;
  int size = 224, threads = 0, warmup = 2, iterations = 7;
  bool tune = true, profile = false, save_memory = false;
};

std::vector<Head> fairface_heads() {
  const auto classes = [](int count) {
    std::vector<std::string> names;
    for (int i = 0; i < count; ++i) names.push_back(std::to_string(i));
    return names;
  };
  return {{"age", classes(9)}, {"gender", classes(2)}, {"race", classes(7)}};
}

struct Synthetic {
  std::vector<std::uint8_t> pixels;
  std::vector<std::int32_t> labels;
};

Synthetic synthetic(const Options& o, const std::vector<Head>& heads) {
  base::RandomStream random(0, base::Purpose::synthesis);
  Synthetic data;
  data.pixels.resize(static_cast<std::size_t>(o.batch) * o.size * o.size * 3);
  std::generate(data.pixels.begin(), data.pixels.end(), [&] { return static_cast<std::uint8_t>(random.bits()); });
  for (const Head& head : heads) {
    for (std::int64_t i = 0; i < o.batch; ++i) {
      data.labels.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(head.classes.size()))));
    }
  }
  return data;
}

/// @throws Error naming the option when its value isn't one of those allowed.
void require_one_of(const std::string& option, const std::string& value, const std::vector<std::string>& allowed) {
  if (std::find(allowed.begin(), allowed.end(), value) == allowed.end()) {
    throw Error(fmt::format("--{} is '{}'; allowed: {}", option, value, fmt::join(allowed, ", ")));
  }
}

/// @throws Error naming the option when its value is below `low` or above `high`.
void require_within(const std::string& option, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value < low || value > high) {
    throw Error(fmt::format("--{} is {}; a whole number from {} to {} is needed", option, value, low, high));
  }
}

void require_good(const Options& o) {
  require_one_of("model", o.model, model_names());
  require_one_of("precision", o.precision, {"f32", "bf16"});
  require_one_of("mode", o.mode, {"training", "inference"});
  require_within("batch", o.batch, 1, 65536);
  require_within("size", o.size, 1, 16384);
  require_within("threads", o.threads, 0, 4096);
  require_within("warmup", o.warmup, 0, 1'000'000);
  if (!o.instructions.empty()) require_one_of("instructions", o.instructions, {"avx2", "avx512", "avx512_bf16"});
  require_within("iterations", o.iterations, 1, 1'000'000);
}

/// Options spelt in full, and nothing else.
po::variables_map read_words(int argc, char** argv, const po::options_description& description) {
  namespace style = po::command_line_style;
  auto parser = po::command_line_parser(argc, argv).options(description);
  const po::parsed_options parsed =
      parser.style(style::allow_long | style::long_allow_adjacent | style::long_allow_next).run();
  for (const po::option& option : parsed.options) {
    if (option.string_key.empty()) {
      throw Error(fmt::format("'{}' is no option; --help lists them", option.original_tokens.front()));
    }
  }
  po::variables_map map;
  po::store(parsed, map);
  return map;
}

/// @throws Error, or an exception of Boost's, for what can't be taken.
Options parse(int argc, char** argv) {
  Options o;
  bool no_tune = false;
  po::options_description description("bench_training: images/s of a step on synthetic pixels\n\nOptions");
  auto add = description.add_options();
  add("help", "print this and exit");
  add("model", po::value(&o.model)->default_value(o.model), "model");
  add("precision", po::value(&o.precision)->default_value(o.precision), "f32 or bf16");
  add("mode", po::value(&o.mode)->default_value(o.mode), "training or inference");
  add("batch", po::value(&o.batch)->default_value(o.batch), "images a step");
  add("size", po::value(&o.size)->default_value(o.size), "height and width of the images");
  add("threads", po::value(&o.threads)->default_value(o.threads), "compute threads; 0: all that may be used");
  add("warmup", po::value(&o.warmup)->default_value(o.warmup), "steps before the first that counts");
  add("iterations", po::value(&o.iterations)->default_value(o.iterations), "steps that count");
  add("instructions", po::value(&o.instructions), "no better ones than these: avx2, avx512 or avx512_bf16");
  add("no-tune", po::bool_switch(&no_tune), "take oneDNN's default primitives instead of timing candidates");
  add("save-memory", po::bool_switch(&o.save_memory),
      "in training: compute what is cheap once more in backward instead of keeping it");
  add("profile", po::bool_switch(&o.profile), "also print time by kind and by step, of one more step");
  add("json", po::value(&o.json), "write the result to this file");
  add("trace", po::value(&o.trace), "write one more step to this file, for the trace viewers of Chrome and Perfetto");
  po::variables_map map = read_words(argc, argv, description);
  if (map.count("help") > 0) {
    std::ostringstream text;
    text << description;
    fmt::print("{}", text.str());
    std::exit(0);
  }
  po::notify(map);
  o.tune = !no_tune;
  require_good(o);
  return o;
}

/// A JSON file that is made now, so that a place that can't be written shows before anything is measured.
class JsonFile {
 public:
  explicit JsonFile(const std::string& path) {
    if (!path.empty()) file_.emplace(path);
  }
  bool asked() const { return file_.has_value(); }
  void write(const nlohmann::json& json) {
    if (!file_) return;
    file_->write(json.dump(1) + "\n");
    file_->commit();
  }

 private:
  std::optional<base::AtomicFile> file_;
};

nlohmann::json spread(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {{"median", values[values.size() / 2]}, {"min", values.front()}, {"max", values.back()}};
}

void run(const Options& o, const Graph& graph) {
  if (!o.instructions.empty()) limit_instructions(o.instructions);
  const Precision precision = o.precision == "bf16" ? Precision::bf16 : Precision::f32;
  require_precision(precision);
  const bool training = o.mode == "training";
  const int threads = o.threads > 0 ? o.threads : base::usable_cores();
  const base::ComputeScope compute(threads);
  JsonFile json(o.json);
  JsonFile trace(o.trace);

  const Synthetic data = synthetic(o, fairface_heads());
  Parameters parameters(graph, 0);
  const auto optimizer = optim::adam();
  program::Choices choices(o.tune);
  const auto compile_start = Clock::now();
  program::ProgramOptions options{.batch = o.batch,
                                  .precision = precision,
                                  .mode = training ? program::Mode::training : program::Mode::inference,
                                  .mean = {0.485F, 0.456F, 0.406F},
                                  .std = {0.229F, 0.224F, 0.225F}};
  options.save_memory = o.save_memory;
  options.optimizer = optimizer.get();
  program::Program program(graph, parameters, options, choices);
  base::Arena arena;
  arena.grow(program.arena_bytes());
  program.bind(arena);
  const double compile_seconds = std::chrono::duration<double>(Clock::now() - compile_start).count();

  program::RunInput input{.pixels = data.pixels.data(), .labels = data.labels.data(), .learning_rate = 1e-4F};
  std::vector<double> rates;
  for (int i = 0; i < o.warmup + o.iterations; ++i) {
    const auto start = Clock::now();
    program.run(input);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (i >= o.warmup) rates.push_back(static_cast<double>(o.batch) / seconds);
    ++input.step;
  }
  nlohmann::json result{{"framework", "facet"},
                        {"model", o.model},
                        {"parameters", graph.trainable_count()},
                        {"mode", o.mode},
                        {"precision", o.precision},
                        {"batch", o.batch},
                        {"size", o.size},
                        {"threads", threads},
                        {"tuned", o.tune},
                        {"save_memory", o.save_memory},
                        {"images_per_s", spread(rates)},
                        {"compile_seconds", compile_seconds},
                        {"arena_bytes", program.arena_bytes()},
                        {"peak_resident_bytes", base::peak_resident_memory()},
                        {"machine",
                         {{"cpu", base::cpu_model()},
                          {"instructions", base::cpu_instructions()},
                          {"limit", o.instructions},
                          {"cores", base::usable_cores()}}},
                        {"versions", {{"onednn", onednn::version()}}},
                        {"choices", choices.all()}};
  const auto& rate = result["images_per_s"];
  fmt::print("{} {} {} batch {} at {}x{}, {} threads, {} ({}): {:.2f} images/s (min {:.2f}, max {:.2f}); peak {} MiB\n",
             o.model, o.mode, o.precision, o.batch, o.size, o.size, threads, base::cpu_model(), onednn::version(),
             rate["median"].get<double>(), rate["min"].get<double>(), rate["max"].get<double>(),
             base::peak_resident_memory() >> 20);
  if (o.profile || trace.asked()) {
    const bench::Profile measured = bench::profile(program, input);
    if (o.profile) {
      bench::print_profile(measured);
      result["profile"] = bench::profile_json(measured);
    }
    trace.write(bench::trace_json(measured));
  }
  json.write(result);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  Graph graph;
  try {
    options = parse(argc, argv);
    graph = build_model(options.model, {.heads = fairface_heads(), .size = options.size});
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_training: {}\n", error.what());
    return 2;
  }
  try {
    run(options, graph);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_training: {}\n", error.what());
    return 1;
  }
  return 0;
}
