#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "facet/dataset.h"
#include "facet/inference.h"

namespace facet::app {

// A model's predictions for images, as lines of output files. `row` is the index of the image in its batch.

/// The columns of a CSV file of predictions.
enum class Detail : std::uint8_t {
  answers,  ///< the file, each head's predicted class and its probability, and each class's probability
  all,      ///< also each head's label (HEAD_label) and each class's logit (see coral for ordinal heads)
};

/// The header line: file, age, age_probability, ..., age_probability_0-2, ...
std::string prediction_header(const std::vector<Head>& heads, Detail detail);

/// The line of one image.
/// @param labels one for each head, for Detail::all; the cell of no_label is empty.
std::string prediction_line(const std::vector<Head>& heads, Detail detail, const std::string& file,
                            std::span<const std::int32_t> labels, const std::vector<HeadPrediction>& predictions,
                            std::size_t row);

/// {"file": ..., "heads": {"age": {"class": ..., "probability": ..., "probabilities": {"0-2": ..., ...}}, ...}}
std::string prediction_json(const std::vector<Head>& heads, const std::string& file,
                            const std::vector<HeadPrediction>& predictions, std::size_t row);

/// {"file": ..., "error": ...}, for an image that can't be read.
std::string error_json(const std::string& file, const std::string& error);

/// The class that a head predicts, and its probability.
struct Answer {
  std::string name;
  float probability;
};
Answer answer_of(const Head& head, const HeadPrediction& prediction, std::size_t row);

}  // namespace facet::app
