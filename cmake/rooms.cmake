# facet_room(NAME SOURCES ... DEPENDS room or library ...)
#
# A room of src/: a static library of its own, so that a test of a room links that room and those below it and nothing
# else. libfacet is made of all rooms' objects.
function(facet_room name)
  cmake_parse_arguments(ROOM "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(facet_${name} STATIC ${ROOM_SOURCES})
  target_include_directories(facet_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(facet_${name} PRIVATE facet_options PUBLIC ${ROOM_DEPENDS})
  target_compile_features(facet_${name} PUBLIC cxx_std_20)
  facet_sanitize(facet_${name} ${name})
  set_target_properties(facet_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden
                                                 VISIBILITY_INLINES_HIDDEN ON CXX_EXTENSIONS OFF)
  set_property(GLOBAL APPEND PROPERTY FACET_ROOMS facet_${name})
endfunction()
