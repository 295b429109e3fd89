# What can be switched, and how our own code is compiled.

option(BUILD_SHARED_LIBS "Build libfacet as a shared library" ON)
option(FACET_BUILD_APPS "Build the facet program" ${PROJECT_IS_TOP_LEVEL})
option(FACET_BUILD_BENCH "Build the bench executables" ${PROJECT_IS_TOP_LEVEL})
option(FACET_WERROR "Treat warnings in facet's own code as errors" OFF)
set(FACET_SANITIZE "" CACHE STRING "Sanitizers to build with: address,undefined or thread")
set(FACET_SANITIZE_MODULES "" CACHE STRING "Modules of src, and their tests, that the sanitizers watch; empty: all")
set(FACET_TEST_FACES "" CACHE PATH "Folder with real faces and their manifests train.csv and val.csv; empty: tests that need them are skipped")
set(FACET_TEST_FAIRFACE "" CACHE PATH "Folder with FairFace's label files; empty: tests that need them are skipped")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

add_library(facet_options INTERFACE)
target_compile_features(facet_options INTERFACE cxx_std_20)
target_compile_options(facet_options INTERFACE -Wall -Wextra -Wshadow -Wpedantic -Wnon-virtual-dtor -Woverloaded-virtual)
if(FACET_WERROR)
  target_compile_options(facet_options INTERFACE -Werror)
endif()
# GCC 12 takes "a" + std::string() for a copy between overlapping memory, where it inlines enough of it (GCC bug 105651).
target_compile_options(facet_options INTERFACE
                       $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>)
if(CMAKE_UNITY_BUILD)
  # GCC takes the sources that a unity build includes for headers, whose types must not be of an anonymous namespace.
  target_compile_options(facet_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
endif()
if(FACET_SANITIZE)
  target_link_options(facet_options INTERFACE -fsanitize=${FACET_SANITIZE})
endif()

# facet_sanitize(TARGET MODULE): lets the sanitizers watch a target of a module. Without optimisation: with it, sanitized code
# takes four times as long to compile.
function(facet_sanitize target module)
  if(FACET_SANITIZE AND (NOT FACET_SANITIZE_MODULES OR module IN_LIST FACET_SANITIZE_MODULES))
    target_compile_options(${target} PRIVATE -fsanitize=${FACET_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -O0 -g1)
  endif()
endfunction()

# AVX2, AVX-512 and Highway's portable fallback: further targets would compile every SIMD source again and gain nothing. (The
# complement, because Highway's versions know different targets.)
set(FACET_HIGHWAY_TARGETS "HWY_DISABLED_TARGETS=(~(HWY_AVX2|HWY_AVX3|HWY_EMU128|HWY_SCALAR))")
