# facet_onnx_schema(TARGET): adds to TARGET the C++ classes that protoc makes of the ONNX project's own schema, which the
# system's ONNX development files bring along, as <onnx/onnx.pb.h>. Needed for building only.
find_path(FACET_ONNX_SCHEMA onnx/onnx.proto DOC "Folder with the ONNX project's schema, onnx/onnx.proto" REQUIRED)
find_program(FACET_PROTOC protoc DOC "The compiler of Protocol Buffers" REQUIRED)

function(facet_onnx_schema target)
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/schema)
  set(made ${folder}/onnx/onnx.pb.cc ${folder}/onnx/onnx.pb.h)
  file(MAKE_DIRECTORY ${folder})
  add_custom_command(OUTPUT ${made}
                     COMMAND ${FACET_PROTOC} --proto_path=${FACET_ONNX_SCHEMA} --cpp_out=${folder} onnx/onnx.proto
                     DEPENDS ${FACET_ONNX_SCHEMA}/onnx/onnx.proto VERBATIM)
  target_sources(${target} PRIVATE ${made})
  target_include_directories(${target} SYSTEM PUBLIC ${folder})
  target_link_libraries(${target} PUBLIC protobuf::libprotobuf-lite)
  set_source_files_properties(${made} PROPERTIES COMPILE_OPTIONS -w)
endfunction()
