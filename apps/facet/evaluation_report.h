#pragma once

#include <string>
#include <vector>

#include "facet/metrics.h"

namespace facet::app {

/// Accuracy of each head, then of each head's classes, then where the answers went, as tables for people. "-" is what
/// no label or no answer tells of.
std::string evaluation_tables(const std::vector<HeadResult>& results);

/// {"model": ..., "data": ..., "images": ..., "heads": {"age": {"accuracy": ..., "loss": ..., "labelled": ...,
/// "classes": [...], "confusion": [[label x predicted]], "per_class": [{...}]}}}, with a line break at its end.
/// Null is what no label or no answer tells of.
std::string evaluation_json(const std::string& model, const std::string& data, std::int64_t images,
                            const std::vector<HeadResult>& results);

}  // namespace facet::app
