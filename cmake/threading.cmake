# facet_threading: the threading runtime that the linked oneDNN was built for. base::parallel_for runs on the same, so that
# no two pools fight for the cores.
if(DNNL_CPU_RUNTIME STREQUAL "TBB")
  set(FACET_THREADING_DEFINITION FACET_THREADING_TBB)
  set(FACET_THREADING_LIBRARY TBB::tbb)
elseif(DNNL_CPU_RUNTIME STREQUAL "OMP")
  set(FACET_THREADING_DEFINITION FACET_THREADING_OPENMP)
  set(FACET_THREADING_LIBRARY OpenMP::OpenMP_CXX)
else()
  message(FATAL_ERROR "facet: oneDNN's CPU runtime is '${DNNL_CPU_RUNTIME}'; OMP and TBB are supported")
endif()
add_library(facet_threading INTERFACE)
target_compile_definitions(facet_threading INTERFACE ${FACET_THREADING_DEFINITION})
target_link_libraries(facet_threading INTERFACE ${FACET_THREADING_LIBRARY})
