# facet_module(NAME SOURCES ... DEPENDS module or library ...)
#
# A module of src/: a static library of its own, so that a test of a module links that module and those below it and nothing
# else. libfacet is made of all modules' objects.
function(facet_module name)
  cmake_parse_arguments(MODULE "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(facet_${name} STATIC ${MODULE_SOURCES})
  target_include_directories(facet_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(facet_${name} PRIVATE facet_options PUBLIC ${MODULE_DEPENDS})
  target_compile_features(facet_${name} PUBLIC cxx_std_20)
  facet_sanitize(facet_${name} ${name})
  set_target_properties(facet_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden
                                                 VISIBILITY_INLINES_HIDDEN ON CXX_EXTENSIONS OFF)
  set_property(GLOBAL APPEND PROPERTY FACET_MODULES facet_${name})
endfunction()
