#include "options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "facet/error.h"
#include "facet/models.h"

namespace facet::bench {

namespace po = boost::program_options;

namespace {

/// @throws Error naming the option when its value isn't one of those allowed.
void require_one_of(const std::string& option, const std::string& value, const std::vector<std::string>& allowed) {
  if (std::find(allowed.begin(), allowed.end(), value) == allowed.end()) {
    throw Error(fmt::format("--{} is '{}'; allowed: {}", option, value, fmt::join(allowed, ", ")));
  }
}

}  // namespace

void require_within(const std::string& option, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value < low || value > high) {
    throw Error(fmt::format("--{} is {}; a whole number from {} to {} is needed", option, value, low, high));
  }
}

void add_options(po::options_description& description, WorkloadOptions& o) {
  auto add = description.add_options();
  add("help", "print this and exit");
  add("model", po::value(&o.model)->default_value(o.model), "model");
  add("precision", po::value(&o.precision)->default_value(o.precision), "f32 or bf16");
  add("mode", po::value(&o.mode)->default_value(o.mode), "training or inference");
  add("batch", po::value(&o.batch)->default_value(o.batch), "images a step");
  add("size", po::value(&o.size)->default_value(o.size), "height and width of the images");
  add("threads", po::value(&o.threads)->default_value(o.threads), "compute threads; 0: all that may be used");
  add("instructions", po::value(&o.instructions), "no better ones than these: avx2, avx512 or avx512_bf16");
  add("no-tune", po::bool_switch(&o.no_tune), "take oneDNN's default primitives instead of timing candidates");
  add("save-memory", po::bool_switch(&o.save_memory),
      "in training: compute what is cheap once more in backward instead of keeping it");
}

void require_good(const WorkloadOptions& o) {
  require_one_of("model", o.model, model_names());
  require_one_of("precision", o.precision, {"f32", "bf16"});
  require_one_of("mode", o.mode, {"training", "inference"});
  require_within("batch", o.batch, 1, 65536);
  require_within("size", o.size, 1, 16384);
  require_within("threads", o.threads, 0, 4096);
  if (!o.instructions.empty()) require_one_of("instructions", o.instructions, {"avx2", "avx512", "avx512_bf16"});
}

void read_words(int argc, char** argv, const po::options_description& description) {
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
  if (map.count("help") > 0) {
    std::ostringstream text;
    text << description;
    fmt::print("{}", text.str());
    std::exit(0);
  }
  po::notify(map);
}

}  // namespace facet::bench
