#pragma once

/// Marks what libfacet exports; everything else is hidden.
#define FACET_EXPORT __attribute__((visibility("default")))
