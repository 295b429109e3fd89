#include "formats/pretrained.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "data/labels.h"
#include "facet/dataset.h"
#include "facet/error.h"
#include "formats/model_file.h"
#include "formats/safetensors_header.h"
#include "formats/weight_file.h"

namespace facet::formats {
namespace {

constexpr std::string_view own_heads = "heads.";
/// The names of the classifiers in torchvision's and facet's models.
constexpr std::array<std::string_view, 3> classifiers{"fc.", "classifier.", own_heads};

bool is_classifiers(std::string_view tensor) {
  return std::any_of(classifiers.begin(), classifiers.end(),
                     [&](std::string_view classifier) { return tensor.starts_with(classifier); });
}

/// Whether a tensor fits a parameter. A counter may be floating-point, since converting a model to half precision may
/// convert its counters too.
bool fits(const TensorSource& tensor, const Parameter& parameter) {
  return tensor.shape == parameter.shape && (tensor.type == parameter.type || parameter.type == DataType::s64);
}

std::string described(const Shape& shape, DataType type) {
  return fmt::format("{} {}", type == DataType::s64 ? "integer" : "floating-point", facet::to_string(shape));
}

/// Tensors that prevent the use of a file: the first is reported, the others are counted.
class Misfits {
 public:
  void add(std::string_view tensor, const std::string& what) {
    if (count_++ == 0) first_ = fmt::format("{} {}", in_quotes(tensor), what);
  }
  void append_to(std::vector<std::string>& texts) const {
    if (count_ == 0) return;
    texts.push_back(count_ == 1 ? first_ : fmt::format("{} (and {} more like it)", first_, count_ - 1));
  }

 private:
  std::string first_;
  int count_ = 0;
};

std::string listed(const std::set<std::string>& all) {
  constexpr std::size_t max_listed = 8;
  std::vector<std::string> names;
  for (const std::string& name : all) names.push_back(in_quotes(name));
  if (names.size() <= max_listed) return fmt::format("{}", fmt::join(names, ", "));
  return fmt::format("{} and {} more", fmt::join(names.begin(), names.begin() + max_listed, ", "),
                     names.size() - max_listed);
}

/// Returns the index of each class in `others`; nullopt if they aren't the same classes.
std::optional<std::vector<std::int64_t>> places_of(const std::vector<std::string>& classes,
                                                   const std::vector<std::string>& others) {
  if (classes.size() != others.size()) return {};
  std::map<std::string_view, std::int64_t> by_name;
  for (const std::string& name : others) by_name.emplace(name, std::ssize(by_name));
  std::vector<std::int64_t> places;
  for (const std::string& name : classes) {
    const auto found = by_name.find(name);
    if (found == by_name.end()) return {};
    places.push_back(found->second);
  }
  return places;
}

/// @throws Error unless each head is one of the graph's, is given once and has a class for each row of its layer, since
///   classes are matched to these rows.
void require_heads(const std::filesystem::path& file, const Graph& graph, const std::vector<Head>& heads) {
  if (heads.empty()) return;
  require_named_heads(fmt::format("{}: the heads of the model", file.string()), heads);
  for (const Head& head : heads) {
    const bool is_graphs = std::any_of(graph.heads().begin(), graph.heads().end(), [&](const HeadOutput& output) {
      return output.name == head.name && output.classes == std::ssize(head.classes);
    });
    if (is_graphs) continue;
    std::vector<std::string> known;
    for (const HeadOutput& output : graph.heads()) {
      known.push_back(fmt::format("{} with {} classes", in_quotes(output.name), output.classes));
    }
    throw Error(fmt::format("{}: the model has a head {} with {} classes; its graph has {}", file.string(),
                            in_quotes(head.name), head.classes.size(),
                            known.empty() ? "no heads" : fmt::format("{}", fmt::join(known, ", "))));
  }
}

/// How a head's classes in the file correspond to the model's, if they aren't the same in the same order.
struct ClassMatch {
  std::string head;
  std::vector<int> parameters;                      ///< those of the head's logits
  std::optional<std::vector<std::int64_t>> places;  ///< index in the file of each class; nullopt: other classes
};

/// @param head one of the graph's.
const HeadOutput& output_of(const Graph& graph, const std::string& head) {
  return *std::ranges::find(graph.heads(), head, &HeadOutput::name);
}

std::vector<ClassMatch> match_classes(const WeightFile& file, const Graph& graph, const std::vector<Head>& heads) {
  std::vector<ClassMatch> matches;
  for (const Head& head : heads) {
    const auto in_file =
        std::find_if(file.heads.begin(), file.heads.end(), [&](const Head& other) { return other.name == head.name; });
    if (in_file == file.heads.end() || in_file->classes == head.classes) continue;
    const HeadOutput& output = output_of(graph, head.name);
    if (output.kind == LossKind::coral) {  // its biases lie between neighbouring classes
      matches.push_back({head.name, graph.nodes()[static_cast<std::size_t>(output.logits)].parameters, {}});
      continue;
    }
    matches.push_back({head.name, logits_parameters(graph, head.name), places_of(head.classes, in_file->classes)});
    if (matches.back().parameters.empty()) {
      throw Error(
          fmt::format("{}: its head {} has other classes than the model's or another order of them, and they can't "
                      "be matched, as no linear layer gives the model's logits",
                      file.name, in_quotes(head.name)),
          ErrorCode::invalid_data);
    }
  }
  return matches;
}

}  // namespace

Pretrained::Pretrained(const std::filesystem::path& file, const Graph& graph, const std::vector<Head>& heads,
                       const HeadSplit& split)
    : taken_(graph.parameters().size(), -1) {
  require_heads(file, graph, heads);
  const std::vector<Parameter>& parameters = graph.parameters();
  WeightFile opened = open_weights(file, parameters);
  const std::string unused_rows = split_layer(opened, split, graph);
  const std::vector<ClassMatch> matches = match_classes(opened, graph, heads);
  name_ = std::move(opened.name);
  sources_ = std::move(opened.tensors);
  for (const ClassMatch& match : matches) {
    if (match.places) continue;
    found_.other_classes.insert(match.head);
    for (const int parameter : match.parameters) {
      found_.fresh.insert(layer_of(parameters[static_cast<std::size_t>(parameter)].name));
    }
  }
  match(parameters, opened.has_shape);
  for (const ClassMatch& match : matches) {
    if (!match.places) continue;
    for (const int parameter : match.parameters) {
      const int source = taken_[static_cast<std::size_t>(parameter)];
      if (source < 0) continue;
      TensorSource& tensor = sources_[static_cast<std::size_t>(source)];
      tensor = take_rows(tensor, tensor.name, *match.places);
      found_.reordered.insert(match.head);
    }
  }
  found_.summary = summarize(unused_rows, split.layer);
}

void Pretrained::match(const std::vector<Parameter>& parameters, bool has_shape) {
  std::map<std::string_view, int> by_name;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    if (by_name.emplace(sources_[i].name, static_cast<int>(i)).second) continue;
    throw Error(fmt::format("{}: two of its tensors are read as {}; each name is allowed once", name_,
                            in_quotes(sources_[i].name)),
                ErrorCode::invalid_data);
  }
  Misfits missing, misshapen, extra;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    const auto found = by_name.find(parameter.name);
    const bool is_there = found != by_name.end();
    if (found_.fresh.contains(layer_of(parameter.name))) continue;
    if (is_there && fits(sources_[static_cast<std::size_t>(found->second)], parameter)) {
      taken_[i] = found->second;
    } else if (parameter.name.starts_with(own_heads)) {
      found_.fresh.insert(layer_of(parameter.name));
    } else if (is_there) {
      const TensorSource& tensor = sources_[static_cast<std::size_t>(found->second)];
      misshapen.add(parameter.name, fmt::format("is {}, but the model has {}", described(tensor.shape, tensor.type),
                                                described(parameter.shape, parameter.type)));
    } else if (parameter.type != DataType::s64) {  // old files lack counters, and nothing reads them
      missing.add(parameter.name, "is missing");
    }
  }
  std::vector<bool> is_taken(sources_.size(), false);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (found_.fresh.contains(layer_of(parameters[i].name))) taken_[i] = -1;  // a layer is taken as a whole
    if (taken_[i] >= 0) is_taken[static_cast<std::size_t>(taken_[i])] = true;
  }
  std::set<std::string_view> names;
  for (const Parameter& parameter : parameters) names.insert(parameter.name);
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    const std::string& tensor = sources_[i].name;
    if (is_taken[i]) continue;
    if (is_classifiers(tensor) || found_.fresh.contains(layer_of(tensor))) {
      found_.left_out.insert(layer_of(tensor));
    } else if (!names.contains(tensor)) {
      extra.add(tensor, "isn't in the model");
    }
  }
  std::vector<std::string> misfits;
  for (const Misfits* kind : {&missing, &misshapen, &extra}) kind->append_to(misfits);
  if (!misfits.empty()) {
    throw Error(fmt::format("{}: the weights don't fit the model: {}{}", name_, fmt::join(misfits, "; "),
                            has_shape ? "; the file's metadata holds the shape of its model (`shape`)" : ""),
                ErrorCode::invalid_data);
  }
}

std::string Pretrained::summarize(const std::string& unused_rows, const std::string& layer) const {
  const auto taken = std::count_if(taken_.begin(), taken_.end(), [](int source) { return source >= 0; });
  std::string text = fmt::format("{}: {} tensors are loaded", name_, taken);
  if (!found_.reordered.empty()) text += fmt::format("; classes reordered in heads: {}", listed(found_.reordered));
  if (!unused_rows.empty()) text += fmt::format("; rows {} of {} belong to no head", unused_rows, in_quotes(layer));
  if (!found_.other_classes.empty())
    text += fmt::format("; heads with other classes: {}", listed(found_.other_classes));
  if (!found_.left_out.empty()) text += fmt::format("; not loaded: {}", listed(found_.left_out));
  if (!found_.fresh.empty()) text += fmt::format("; newly initialised: {}", listed(found_.fresh));
  return text;
}

void Pretrained::load(Parameters& parameters) const {
  for (std::size_t i = 0; i < taken_.size(); ++i) {
    if (taken_[i] < 0) continue;
    const int index = static_cast<int>(i);
    const TensorSource& source = sources_[static_cast<std::size_t>(taken_[i])];
    const TensorValues values = source.values();
    if (const auto* whole = std::get_if<std::vector<std::int64_t>>(&values)) {
      parameters.set_counter(index, whole->at(0));
      continue;
    }
    const auto& floats = std::get<std::vector<float>>(values);
    if (parameters.list()[i].type == DataType::s64) {  // above 65504 a half counter is infinite; nothing reads it
      constexpr float limit = 1e15F;
      if (floats.at(0) >= 0 && floats[0] < limit) parameters.set_counter(index, std::llround(floats[0]));
      continue;
    }
    require_finite(name_, source.name, floats, is_variance(source.name));
    parameters.set(index, floats);
  }
}

}  // namespace facet::formats

namespace facet {

PretrainedWeights load_pretrained(const std::filesystem::path& file, const Graph& graph, const std::vector<Head>& heads,
                                  Parameters& parameters, const HeadSplit& split) {
  const auto same_name = [](const Parameter& one, const Parameter& other) { return one.name == other.name; };
  if (!std::equal(parameters.list().begin(), parameters.list().end(), graph.parameters().begin(),
                  graph.parameters().end(), same_name)) {
    throw Error(fmt::format("{}: the parameters to load it into belong to another graph", file.string()));
  }
  const formats::Pretrained pretrained(file, graph, heads, split);
  pretrained.load(parameters);
  return pretrained.found();
}

std::vector<PretrainedTensor> list_pretrained(const std::filesystem::path& file) {
  std::vector<PretrainedTensor> tensors;
  for (const formats::TensorSource& tensor : formats::open_weights(file, {}).tensors) {
    tensors.push_back({tensor.name, tensor.shape});
  }
  return tensors;
}

}  // namespace facet
