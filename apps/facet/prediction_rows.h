#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "facet/data.h"
#include "facet/inference.h"

namespace facet::app {

// What a model says of images, as lines of files. A row is the image's place in the predictions of its batch.

/// What a CSV of predictions has beyond classes and probabilities.
enum class Detail : std::uint8_t {
  answers,  ///< file; of each head its class and probability; each class's probability
  all,      ///< also of each head the label (HEAD_label), and each class's logit
};

/// file, age, age_probability, ..., age_probability_0-2, ...
std::string prediction_header(const std::vector<Head>& heads, Detail detail);

/// @param labels one a head, for Detail::all; no_label is left empty.
std::string prediction_line(const std::vector<Head>& heads, Detail detail, const std::string& file,
                            std::span<const std::int32_t> labels, const std::vector<HeadPrediction>& predictions,
                            std::size_t row);

/// {"file": ..., "heads": {"age": {"class": ..., "probability": ..., "probabilities": {"0-2": ..., ...}}, ...}}
std::string prediction_json(const std::vector<Head>& heads, const std::string& file,
                            const std::vector<HeadPrediction>& predictions, std::size_t row);

/// The class that a head answers with, and its probability.
struct Answer {
  std::string name;
  float probability;
};
Answer answer_of(const Head& head, const HeadPrediction& prediction, std::size_t row);

}  // namespace facet::app
