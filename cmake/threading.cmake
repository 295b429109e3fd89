# facet_threading: the threading runtime that the linked oneDNN was built for. base::parallel_for runs on the same, so that
# no two pools fight for the cores.
add_library(facet_threading INTERFACE)
if(DNNL_CPU_RUNTIME STREQUAL "TBB")
  target_compile_definitions(facet_threading INTERFACE FACET_THREADING_TBB)
  target_link_libraries(facet_threading INTERFACE TBB::tbb)
elseif(DNNL_CPU_RUNTIME STREQUAL "OMP")
  find_package(OpenMP REQUIRED COMPONENTS CXX)
  target_compile_definitions(facet_threading INTERFACE FACET_THREADING_OPENMP)
  target_link_libraries(facet_threading INTERFACE OpenMP::OpenMP_CXX)
else()
  message(FATAL_ERROR "facet: oneDNN's CPU runtime is '${DNNL_CPU_RUNTIME}'; OMP and TBB are supported")
endif()
