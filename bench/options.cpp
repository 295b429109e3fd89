#include "options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <string_view>

#include "facet/error.h"
#include "facet/models.h"
#include "facet/threads.h"

namespace facet::bench {

namespace po = boost::program_options;

void require_one_of(const std::string& option, const std::string& value, const std::vector<std::string>& allowed) {
  if (std::find(allowed.begin(), allowed.end(), value) == allowed.end()) {
    throw Error(fmt::format("--{} is '{}'; allowed: {}", option, value, fmt::join(allowed, ", ")));
  }
}

void require_within(const std::string& option, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value < low || value > high) {
    throw Error(fmt::format("--{} is {}; a whole number from {} to {} is needed", option, value, low, high));
  }
}

void add_model_options(po::options_description& description, WorkloadOptions& o) {
  auto add = description.add_options();
  add("help", "print this and exit");
  add("model", po::value(&o.model)->default_value(o.model), "model");
  add("precision", po::value(&o.precision)->default_value(o.precision), "f32 or bf16");
  add_size(description, o.size);
  add("max-cpu-isa", po::value(&o.max_cpu_isa), "the highest CPU ISA that may be used: avx2, avx512 or avx512_bf16");
  add("no-tune", po::bool_switch(&o.no_tune), "use oneDNN's default primitives instead of timing candidates");
  add("save-memory", po::bool_switch(&o.save_memory),
      "in training: run cheap operations again in the backward pass instead of keeping their results");
}

void add_size(po::options_description& description, ImageSize& size) {
  const auto read = [&size](const std::string& text) { size = parse_image_size(text, "--size"); };
  description.add_options()("size", po::value<std::string>()->default_value("224")->notifier(read),
                            "size of the images in pixels: one number for a square, or HEIGHTxWIDTH");
}

namespace {

/// The rows of train_options() that change images at random.
std::vector<const TrainOption*> augmentation_rows() {
  std::vector<const TrainOption*> rows;
  for (const TrainOption& row : train_options()) {
    if (row.name == "no-flip" || row.group == train_option("augment").group) rows.push_back(&row);
  }
  return rows;
}

}  // namespace

void add_augmentation_options(po::options_description& description, TrainOptions& training) {
  for (const TrainOption* row : augmentation_rows()) {
    const auto set = [row, &training](const std::string& text) { row->set(training, {text}, "--" + row->name); };
    po::value_semantic* value = nullptr;
    if (row->value == TrainOption::Value::flag) {
      value = po::bool_switch()->notifier([set](bool on) { set(on ? "yes" : "no"); });
    } else {
      auto* text = po::value<std::string>()->value_name(row->argument)->notifier(set);
      value = row->default_text.empty() ? text : text->default_value(row->default_text);
    }
    description.add_options()(row->name.c_str(), value, row->help.c_str());
  }
}

std::string augmentation_words(const TrainOptions& training) {
  std::vector<std::string> words;
  for (const TrainOption* row : augmentation_rows()) {
    const std::vector<std::string> texts = row->texts(training);
    if (texts == row->texts(TrainOptions())) continue;
    words.push_back("--" + row->name);
    if (row->value != TrainOption::Value::flag) words.insert(words.end(), texts.begin(), texts.end());
  }
  return fmt::format("{}", fmt::join(words, " "));
}

void add_options(po::options_description& description, WorkloadOptions& o) {
  add_model_options(description, o);
  auto add = description.add_options();
  add("mode", po::value(&o.mode)->default_value(o.mode), "training or inference");
  add_number(description, "batch", o.batch, 1, most_images, "batch size, in images");
  add("threads", po::value(&o.threads)->default_value(o.threads),
      "compute threads; 0: OMP_NUM_THREADS, else all cores that the process may use; bench_training also measures "
      "several numbers in turn, such as 1,2,4");
  add("pin", po::bool_switch(&o.pin), "bind each compute thread to a core of its own, as facet train does");
}

void require_good(const WorkloadOptions& o) {
  require_one_of("model", o.model, model_names());
  require_one_of("precision", o.precision, {"f32", "bf16"});
  require_one_of("mode", o.mode, {"training", "inference"});
  thread_counts(o);
  if (!o.max_cpu_isa.empty()) require_one_of("max-cpu-isa", o.max_cpu_isa, {"avx2", "avx512", "avx512_bf16"});
}

namespace {

std::optional<int> whole_number(const std::string& text, int low, int high) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool is_whole = error == std::errc() && end == text.data() + text.size();
  return is_whole && number >= low && number <= high ? std::optional(number) : std::nullopt;
}

}  // namespace

int read_number(const std::string& option, const std::string& text, int low, int high) {
  const std::optional<int> number = whole_number(text, low, high);
  if (!number) throw Error(fmt::format("--{} is {}; a whole number from {} to {} is needed", option, text, low, high));
  return *number;
}

std::vector<int> read_numbers(const std::string& option, const std::string& text, int low, int high) {
  std::vector<int> numbers;
  std::istringstream words(text + ",");
  for (std::string word; std::getline(words, word, ',');) {
    const std::optional<int> number = whole_number(word, low, high);
    if (!number) {
      throw Error(fmt::format("--{} is {}; a whole number from {} to {} is needed, or several separated by commas",
                              option, text, low, high));
    }
    numbers.push_back(*number);
  }
  return numbers;
}

std::vector<int> thread_counts(const WorkloadOptions& o) {
  std::vector<int> counts = read_numbers("threads", o.threads, 0, max_threads);
  for (int& count : counts) count = resolve_threads(count);
  return counts;
}

void read_words(int argc, char** argv, const po::options_description& description) {
  namespace style = po::command_line_style;
  std::vector<std::string> words(argv + 1, argv + argc);
  constexpr std::string_view former_name = "--instructions";  // of --max-cpu-isa
  for (std::string& word : words) {
    if (word == former_name || word.starts_with("--instructions="))
      word.replace(0, former_name.size(), "--max-cpu-isa");
  }
  auto parser = po::command_line_parser(words).options(description);
  const po::parsed_options parsed =
      parser.style(style::allow_long | style::long_allow_adjacent | style::long_allow_next).run();
  for (const po::option& option : parsed.options) {
    if (option.string_key.empty()) {
      throw Error(fmt::format("'{}' is not an option; --help lists them", option.original_tokens.front()));
    }
  }
  po::variables_map map;
  po::store(parsed, map);
  if (map.count("help") > 0) {
    std::ostringstream text;
    text << description;
    fmt::print("{}", text.str());
    std::exit(0);
  }
  po::notify(map);
}

}  // namespace facet::bench
