# facet_protobuf(TARGET FOLDER FILE.proto): adds to TARGET the C++ classes that protoc makes of FOLDER/FILE.proto, as
# <FILE.pb.h>; FILE may be in a folder of its own below FOLDER.
# facet_onnx_schema(TARGET): the same of the ONNX project's own schema, which the system's ONNX development files bring along,
# as <onnx/onnx.pb.h>. Both are needed for building only.
find_path(FACET_ONNX_SCHEMA onnx/onnx.proto DOC "Folder with the ONNX project's schema, onnx/onnx.proto" REQUIRED)
find_program(FACET_PROTOC protoc DOC "The compiler of Protocol Buffers" REQUIRED)

function(facet_protobuf target folder file)
  cmake_path(REMOVE_EXTENSION file OUTPUT_VARIABLE stem)
  cmake_path(GET file PARENT_PATH parent)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/schema)
  set(made ${out}/${stem}.pb.cc ${out}/${stem}.pb.h)
  file(MAKE_DIRECTORY ${out}/${parent})
  add_custom_command(OUTPUT ${made} COMMAND ${FACET_PROTOC} --proto_path=${folder} --cpp_out=${out} ${file}
                     DEPENDS ${folder}/${file} VERBATIM)
  target_sources(${target} PRIVATE ${made})
  target_include_directories(${target} SYSTEM PUBLIC ${out})
  target_link_libraries(${target} PUBLIC protobuf::libprotobuf-lite)
  set_source_files_properties(${made} PROPERTIES COMPILE_OPTIONS -w)
endfunction()

function(facet_onnx_schema target)
  facet_protobuf(${target} ${FACET_ONNX_SCHEMA} onnx/onnx.proto)
endfunction()
