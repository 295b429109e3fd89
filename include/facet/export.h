#pragma once

/// Marks what libfacet exports; everything else is hidden.
#define FACET_EXPORT __attribute__((visibility("default")))
/// Hides a type within an exported class, which would be exported with it.
#define FACET_NO_EXPORT __attribute__((visibility("hidden")))
