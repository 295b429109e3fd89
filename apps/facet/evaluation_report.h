#pragma once

#include <string>
#include <vector>

#include "facet/metrics.h"

namespace facet::app {

// Reports on heads of which some images have a label.

/// Accuracy of each head, then of each head's classes (of very many, the first), then where the answers went, as tables
/// for people. "-" is what no label or no answer tells of.
std::string evaluation_tables(const std::vector<HeadResult>& results);

/// {"model": ..., "data": ..., "images": ..., "heads": {"age": {"accuracy": ..., "loss": ..., "labelled": ...,
/// "classes": [...], "confusion": [[label x predicted]], "per_class": [{...}]}}}, with a line break at its end. Null is
/// what no label or no answer tells of. Of more than max_dense_classes, "confusion_cells" stands in the confusion
/// matrix's place: [label, predicted, images] for each pair of indices that occurs.
std::string evaluation_json(const std::string& model, const std::string& data, std::int64_t images,
                            const std::vector<HeadResult>& results);

}  // namespace facet::app
