# libfacet, its headers, and what find_package(facet) and pkg-config need.
include(CMakePackageConfigHelpers)

# A static libfacet needs the MPI that it is compiled against, and no other: its libraries are recorded.
set(mpi_libraries "")
if(FACET_MPI_LIBRARY)
  set(mpi_libraries ${MPI_C_LIBRARIES})
endif()

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/facet)
install(TARGETS facet EXPORT facetTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/facet DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT facetTargets NAMESPACE facet:: DESTINATION ${package_folder})

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/facetConfig.cmake.in ${PROJECT_BINARY_DIR}/facetConfig.cmake
                              INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/facetConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/facetConfig.cmake ${PROJECT_BINARY_DIR}/facetConfigVersion.cmake
              ${PROJECT_SOURCE_DIR}/cmake/dependencies.cmake DESTINATION ${package_folder})

# What was linked from folders of its own (oneDNN, oneTBB) is found there after installation too, or beside libfacet.
set_target_properties(facet PROPERTIES INSTALL_RPATH "$ORIGIN" INSTALL_RPATH_USE_LINK_PATH ON)
if(TARGET facet_app)
  file(RELATIVE_PATH library_folder /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
  set_target_properties(facet_app PROPERTIES INSTALL_RPATH "$ORIGIN/${library_folder}" INSTALL_RPATH_USE_LINK_PATH ON)
endif()

# A shared libfacet knows what it needs; a static one must tell.
set(pc_requires "")
set(pc_libraries "")
if(NOT BUILD_SHARED_LIBS)
  set(pc_requires "tbb fmt hwloc libhwy libjpeg libpng libwebp libwebpdemux protobuf-lite libzip")
  set(pc_libraries "-L\"$<TARGET_LINKER_FILE_DIR:DNNL::dnnl>\" -ldnnl -lstdc++ -lm -pthread")
  if(DNNL_CPU_RUNTIME STREQUAL "OMP")
    string(PREPEND pc_libraries "${OpenMP_CXX_FLAGS} ")
  endif()
  foreach(library IN LISTS mpi_libraries)
    string(APPEND pc_libraries " \"${library}\"")
  endforeach()
endif()
# The prefix is found from the file's own place, so that an installed tree may be moved.
file(RELATIVE_PATH pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(${PROJECT_SOURCE_DIR}/cmake/facet.pc.in ${PROJECT_BINARY_DIR}/facet.pc.in @ONLY)
file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/facet.pc INPUT ${PROJECT_BINARY_DIR}/facet.pc.in)
install(FILES ${PROJECT_BINARY_DIR}/facet.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
