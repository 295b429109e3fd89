#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "facet/export.h"

namespace facet {

/// Returns facet's version: "0.1.0".
FACET_EXPORT std::string_view version();

/// A property of the library's build, or of how it runs on this machine.
struct BuildFeature {
  std::string name = {};   ///< "image formats"
  std::string value = {};  ///< "JPEG (libjpeg-turbo 2.1.5)"
};

/// Returns the features of the build: oneDNN and its threading runtime, the CPU ISAs of facet's own kernels, image
/// formats.
FACET_EXPORT std::vector<BuildFeature> build_features();

/// Limits both oneDNN's primitives and facet's own kernels in this process to CPU ISAs up to `limit`: "avx2", "avx512"
/// or "avx512_bf16". It serves to measure and test the behaviour of other machines; a limit above the CPU's own ISA has
/// no effect. It must be called before any other function of facet, while the process uses facet on one thread only.
/// @throws Error when the value isn't allowed (naming those allowed), or when oneDNN has been used already.
FACET_EXPORT void set_max_cpu_isa(std::string_view limit);

/// Returns facet's folder among the user's caches, in which the program `facet` keeps its tuning cache
/// (TrainOptions::tuning_cache): $XDG_CACHE_HOME/facet, else $HOME/.cache/facet; empty if neither variable is set to an
/// absolute path. The folder need not exist.
FACET_EXPORT std::filesystem::path user_cache_folder();

}  // namespace facet
