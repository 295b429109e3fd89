#pragma once

#include <string>
#include <vector>

#include "facet/inference.h"
#include "facet/metrics.h"

namespace facet::app {

// Reports on heads for which at least one image has a label.

/// Tables for people: the accuracy of all heads, then for each head the metrics of its classes (of very many, the
/// first) and its confusion matrix. A metric that is undefined, because the class has no label or no prediction, is
/// "-".
std::string evaluation_tables(const std::vector<HeadResult>& results);

/// {"model": ..., "data": ..., "images": ..., "tta": "none", "heads": {"age": {"accuracy": ..., "loss": ...,
/// "labelled": ..., "classes": [...], "confusion": [[label x predicted]], "per_class": [{...}]}}}, with a line break at
/// its end. A metric that is undefined is null. For more than max_dense_classes classes, "confusion_cells" replaces the
/// confusion matrix: [label, predicted, images] for each pair of indices that occurs.
std::string evaluation_json(const std::string& model, const std::string& data, std::int64_t images,
                            TestTimeAugmentation tta, const std::vector<HeadResult>& results);

}  // namespace facet::app
