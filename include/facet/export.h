#pragma once

/// Marks a symbol that libfacet exports; all other symbols are hidden.
#define FACET_EXPORT __attribute__((visibility("default")))
/// Hides a member of an exported class, which would otherwise be exported with the class.
#define FACET_NO_EXPORT __attribute__((visibility("hidden")))
