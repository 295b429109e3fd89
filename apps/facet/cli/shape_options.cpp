#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cli/options.h"
#include "cli/shared_options.h"
#include "facet/dataset.h"
#include "facet/error.h"

namespace facet::app {
namespace {

constexpr const char* varied_model = "reference";

std::int64_t parse_extent(const std::string& text, const std::string& origin) {
  return parse_integer(text, origin, 1, ReferenceShape::max_extent);
}

/// Reads a block such as "64x1".
ReferenceBlock parse_block(const std::string& text, const std::string& origin) {
  const std::size_t times = text.find('x');
  if (times == std::string::npos) {
    throw UsageError(fmt::format("{} has '{}'; CHANNELSxN is needed, such as 64x1", origin, text));
  }
  const std::int64_t residual_blocks =
      parse_integer(text.substr(times + 1), origin, 0, ReferenceShape::max_residual_blocks);
  return {parse_extent(text.substr(0, times), origin), static_cast<int>(residual_blocks)};
}

/// Reads a dropout such as "0.5" or "alpha:0.5".
RequestedShape::Dropout parse_dropout(const std::string& text, const std::string& origin) {
  constexpr std::string_view alpha = "alpha:";
  const bool is_alpha = text.starts_with(alpha);
  const auto rate = static_cast<float>(parse_number(is_alpha ? text.substr(alpha.size()) : text, origin));
  if (rate >= 0 && rate < 1) return {rate, is_alpha};
  throw UsageError(fmt::format("{} has '{}'; a rate of at least 0 and below 1 is needed", origin, text));
}

/// Reads a value such as "256,gender=128": values by head, and under the empty name the value for all other heads.
template <class T>
std::map<std::string, T, std::less<>> read_by_head(const Options& options, const std::string& name,
                                                   T (*parse)(const std::string&, const std::string&)) {
  std::map<std::string, T, std::less<>> values;
  for (const std::string& word : options.words(name)) {
    const std::size_t equals = word.rfind('=');
    const std::string head = equals == std::string::npos ? "" : word.substr(0, equals);
    if (equals == 0) throw UsageError(fmt::format("{} has '{}'; HEAD=VALUE is needed", options.origin(name), word));
    const std::string value = equals == std::string::npos ? word : word.substr(equals + 1);
    if (values.emplace(head, parse(value, options.origin(name))).second) continue;
    throw UsageError(fmt::format("{} is '{}', which has {} twice", options.origin(name), options.text(name),
                                 head.empty() ? "a value for all other heads" : head));
  }
  return values;
}

template <class T>
const T* find_for(const std::map<std::string, T, std::less<>>& by_head, const std::string& head) {
  auto found = by_head.find(head);
  if (found == by_head.end()) found = by_head.find("");
  return found == by_head.end() ? nullptr : &found->second;
}

template <class T>
void require_heads(const Options& options, const std::string& name,
                   const std::map<std::string, T, std::less<>>& by_head, const std::vector<std::string>& heads) {
  for (const auto& [head, value] : by_head) {
    if (head.empty() || std::find(heads.begin(), heads.end(), head) != heads.end()) continue;
    throw UsageError(fmt::format("{} has a head {}; the heads are {}{}", options.origin(name), head,
                                 fmt::join(heads, ", "), did_you_mean(head, heads)));
  }
}

}  // namespace

OptionGroup reference_shape_options() {
  return {"Shape of the reference model (by default the paper's)",
          {{.name = "stem", .argument = "CHANNELS", .help = "channels of the first convolution (default: 64)"},
           {.name = "blocks",
            .argument = "CHANNELSxN,...",
            .help = "channels of each block and the number of its residual blocks; each block halves height and width "
                    "(default: 64x1,128x1,256x2)"},
           {.name = "hidden",
            .argument = "[HEAD=]FEATURES,...",
            .help = "features of the layer before a head's logits, for the named head or for all other heads (default: "
                    "256,gender=128)"},
           {.name = "dropout",
            .argument = "[HEAD=][alpha:]RATE,...",
            .help = "dropout after that layer, for the named head or for all other heads; alpha: selects alpha dropout "
                    "(default: 0.5,race=alpha:0.5)"}}};
}

RequestedShape read_shape(const Options& options) {
  for (const Option& option : reference_shape_options().options) {
    if (!options.given(option.name) || options.text("model") == varied_model) continue;
    throw UsageError(fmt::format("{} needs --model {}; the shape of {} is fixed", options.origin(option.name),
                                 varied_model, options.text("model")));
  }
  RequestedShape requested;
  if (options.given("stem")) requested.trunk.stem = options.integer("stem", 1, ReferenceShape::max_extent);
  if (options.given("blocks")) {
    requested.trunk.blocks.clear();
    for (const std::string& word : options.words("blocks")) {
      requested.trunk.blocks.push_back(parse_block(word, options.origin("blocks")));
    }
    if (std::ssize(requested.trunk.blocks) > ReferenceShape::max_blocks) {
      throw UsageError(fmt::format("{} has {} blocks; at most {} are allowed", options.origin("blocks"),
                                   requested.trunk.blocks.size(), ReferenceShape::max_blocks));
    }
  }
  requested.features = read_by_head(options, "hidden", parse_extent);
  requested.dropout = read_by_head(options, "dropout", parse_dropout);
  return requested;
}

std::string shape_for(const Options& options, const RequestedShape& requested, const std::vector<Head>& heads) {
  const std::vector<std::string> names = names_of(heads);
  require_heads(options, "hidden", requested.features, names);
  require_heads(options, "dropout", requested.dropout, names);
  ReferenceShape shape = requested.trunk;
  for (const std::string& head : names) {
    ReferenceHidden hidden = reference_hidden(head);
    if (const auto* features = find_for(requested.features, head)) hidden.features = *features;
    if (const auto* dropout = find_for(requested.dropout, head)) {
      hidden.dropout = dropout->rate;
      hidden.alpha = dropout->alpha;
    }
    if (hidden != reference_hidden(head)) shape.hidden.emplace(head, hidden);
  }
  return to_string(shape);
}

}  // namespace facet::app
