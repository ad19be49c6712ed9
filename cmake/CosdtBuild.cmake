# Compiler settings and the helpers that every folder's CMakeLists.txt uses.
include(GNUInstallDirs)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

# An installed program finds the libraries installed with it; a user's own LibTorch or MuJoCo is
# not copied, so its folder stays in the search path.
list(PREPEND CMAKE_INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)

find_program(CCACHE ccache)
if(CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  # ccache needs this sloppiness for precompiled headers
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime "${CCACHE}")
endif()

add_library(cosdt_flags INTERFACE)
target_compile_options(cosdt_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow>)
if(COSDT_WERROR)
  target_compile_options(cosdt_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
if(COSDT_SANITIZE)
  set(sanitize -fsanitize=${COSDT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_compile_options(cosdt_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${sanitize}>")
  target_link_options(cosdt_flags INTERFACE -fsanitize=${COSDT_SANITIZE})
endif()

# cosdt_library(NAME [TORCH] SOURCES .. [PUBLIC targets..] [PRIVATE targets..])
# One static library per folder, known as cosdt::NAME; its headers are included as "NAME/file.h". TORCH is
# for sources that include <torch/torch.h>.
function(cosdt_library name)
  cmake_parse_arguments(ARG "TORCH" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(cosdt_${name} STATIC ${ARG_SOURCES})
  add_library(cosdt::${name} ALIAS cosdt_${name})
  set_target_properties(cosdt_${name} PROPERTIES EXPORT_NAME ${name})
  target_include_directories(
    cosdt_${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                         $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/cosdt>)
  target_compile_features(cosdt_${name} PUBLIC cxx_std_20)
  target_link_libraries(cosdt_${name} PUBLIC ${ARG_PUBLIC}
                        PRIVATE ${ARG_PRIVATE} $<BUILD_INTERFACE:cosdt_flags>)
  if(ARG_TORCH)
    cosdt_precompile_torch(cosdt_${name})
    cosdt_unity_rooms(cosdt_${name} ${ARG_SOURCES})
  endif()
endfunction()

# Unless COSDT_UNITY is off, each folder of a target's sources is one translation unit: headers that take
# seconds to parse (LibTorch, CLI11, JSON) are parsed, and their templates compiled, once per folder.
function(cosdt_unity_rooms target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${COSDT_UNITY} UNITY_BUILD_MODE GROUP)
  foreach(source IN LISTS ARGN)
    get_filename_component(room "${source}" DIRECTORY)
    string(MAKE_C_IDENTIFIER "${target}_${room}" room)
    set_source_files_properties("${source}" PROPERTIES UNITY_GROUP ${room})
  endforeach()
endfunction()

# cosdt_cuda_sources(TARGET [TORCH] sources..)
# Files of CUDA builds only, compiled apart, so that both builds share all other files. They register their
# functions when the program starts and nothing refers to them, so they are linked as objects: from a static
# library a linker takes only what is referred to.
function(cosdt_cuda_sources target)
  if(NOT COSDT_USE_CUDA)
    return()
  endif()
  cmake_parse_arguments(ARG "TORCH" "" "" ${ARGN})
  set(objects ${target}_cuda)
  add_library(${objects} OBJECT ${ARG_UNPARSED_ARGUMENTS})
  string(REGEX REPLACE "^cosdt_" "" name ${objects})
  add_library(cosdt::${name} ALIAS ${objects})
  set_target_properties(${objects} PROPERTIES EXPORT_NAME ${name} CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON)
  target_include_directories(${objects} PRIVATE "${PROJECT_SOURCE_DIR}")
  set(needed CUDA::cudart $<BUILD_INTERFACE:cosdt_flags>)
  if(ARG_TORCH)
    list(APPEND needed cosdt::torch)
  endif()
  target_link_libraries(${objects} PRIVATE ${needed})
  if(ARG_TORCH)
    cosdt_precompile_torch(${objects})
  endif()
  # the target's other files do not get CUDA's include folders
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "STATIC_LIBRARY")
    target_link_libraries(${target} INTERFACE $<TARGET_OBJECTS:cosdt::${name}> $<LINK_ONLY:CUDA::cudart>)
  else()
    target_link_libraries(${target} PRIVATE $<TARGET_OBJECTS:cosdt::${name}> $<LINK_ONLY:CUDA::cudart>)
  endif()
endfunction()

# LibTorch's header takes half a minute to parse: the targets that include it share a precompiled one.
function(cosdt_precompile_torch target)
  if(NOT TARGET cosdt_torch_header)
    cosdt_write("${PROJECT_BINARY_DIR}/torch_header.cc" "")
    add_library(cosdt_torch_header OBJECT "${PROJECT_BINARY_DIR}/torch_header.cc")
    target_link_libraries(cosdt_torch_header PRIVATE cosdt::torch cosdt_flags)
    target_precompile_headers(cosdt_torch_header PRIVATE <torch/torch.h>)
  endif()
  # a precompiled header fits only one kind of position-independent code, in programs too
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fPIC>
                                           $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-fPIC>)
  target_precompile_headers(${target} REUSE_FROM cosdt_torch_header)
endfunction()

# Writes a file unless it already has that content: a new time would cause a rebuild.
function(cosdt_write file content)
  if(EXISTS "${file}")
    file(READ "${file}" present)
    if(present STREQUAL content)
      return()
    endif()
  endif()
  file(WRITE "${file}" "${content}")
endfunction()

# cosdt_embed(TARGET NAMESPACE files..)
# Compiles text files into TARGET. Each becomes `extern const char kNAME_EXT[]` in cosdt::NAMESPACE,
# declared in the generated header "NAMESPACE/embedded.h": hopper.xml is kHopperXml.
function(cosdt_embed target namespace)
  set(header "#pragma once\n// Generated by cosdt_embed (cmake/CosdtBuild.cmake).\nnamespace cosdt::${namespace} {\n")
  set(source "#include \"${namespace}/embedded.h\"\nnamespace cosdt::${namespace} {\n")
  foreach(file IN LISTS ARGN)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${file}")
    get_filename_component(base "${file}" NAME)
    string(REGEX MATCHALL "[A-Za-z0-9]+" words "${base}")
    set(identifier k)
    foreach(word IN LISTS words)
      string(SUBSTRING "${word}" 0 1 first)
      string(TOUPPER "${first}" first)
      string(SUBSTRING "${word}" 1 -1 rest)
      string(APPEND identifier "${first}${rest}")
    endforeach()
    file(READ "${CMAKE_CURRENT_SOURCE_DIR}/${file}" text)
    string(APPEND header "extern const char ${identifier}[];\n")
    string(APPEND source "const char ${identifier}[] = R\"embedded(${text})embedded\";\n")
  endforeach()
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/embedded")
  cosdt_write("${folder}/${namespace}/embedded.h" "${header}}\n")
  cosdt_write("${folder}/embedded.cc" "${source}}\n")
  target_sources(${target} PRIVATE "${folder}/embedded.cc")
  target_include_directories(${target} PRIVATE "${folder}")
endfunction()

# cosdt_embed_files(TARGET NAMESPACE HEADER files..)
# Puts binary files into TARGET and defines cosdt::NAMESPACE::EmbeddedFiles(), which HEADER declares.
# The assembler includes them: a compiler is slow at megabytes.
function(cosdt_embed_files target namespace header)
  set(symbols "")
  set(entries "")
  set(index 0)
  foreach(file IN LISTS ARGN)
    get_filename_component(name "${file}" NAME_WE)
    set(symbol "cosdt_${namespace}_file_${index}")
    string(APPEND symbols "asm(R\"(.pushsection .rodata\n${symbol}: .incbin \"${file}\"\n${symbol}_end: .popsection)\");\n"
           "extern const uint8_t ${symbol}_begin[] asm(\"${symbol}\");\nextern const uint8_t ${symbol}_end[] asm(\"${symbol}_end\");\n")
    string(APPEND entries "    {\"${name}\", {${symbol}_begin, ${symbol}_end}},\n")
    math(EXPR index "${index} + 1")
  endforeach()
  set(source "${CMAKE_CURRENT_BINARY_DIR}/embedded_files.cc")
  cosdt_write(
    "${source}"
    "#include \"${header}\"\n${symbols}namespace cosdt::${namespace} {\nstd::span<const EmbeddedFile> EmbeddedFiles() {\n  static const EmbeddedFile files[] = {\n${entries}  };\n  return files;\n}\n}\n"
  )
  set_source_files_properties("${source}" PROPERTIES OBJECT_DEPENDS "${ARGN}" SKIP_PRECOMPILE_HEADERS ON)
  target_sources(${target} PRIVATE "${source}")
endfunction()

# cosdt_test(NAME [TORCH] [PROGRAM] SOURCES .. LIBRARIES ..)
# One GoogleTest program per folder; PROGRAM is for tests that run `cosdt` (tests/program.h). "Slow" in a
# test's full name puts the label `slow` on it (left out of the default run), "_CUDA" the label `gpu`.
function(cosdt_test name)
  cmake_parse_arguments(ARG "TORCH;PROGRAM" "" "SOURCES;LIBRARIES" ${ARGN})
  set(target cosdt_${name}_test)
  add_executable(${target} ${ARG_SOURCES})
  target_link_libraries(${target} PRIVATE ${ARG_LIBRARIES} GTest::gmock GTest::gtest_main cosdt_flags)
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}")
  # tests take longer to compile than to run
  target_compile_options(${target} PRIVATE $<$<AND:$<CONFIG:Release>,$<COMPILE_LANGUAGE:CXX>>:-O1>)
  target_compile_definitions(
    ${target} PRIVATE COSDT_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
                      COSDT_SHARED_DIR="${PROJECT_SOURCE_DIR}/../shared")
  if(ARG_PROGRAM)
    target_compile_definitions(${target} PRIVATE COSDT_PROGRAM="$<TARGET_FILE:cosdt>")
    add_dependencies(${target} cosdt)
  endif()
  if(ARG_TORCH)
    cosdt_precompile_torch(${target})
  endif()
  if(ARG_TORCH OR ARG_PROGRAM)
    cosdt_unity_rooms(${target} ${ARG_SOURCES})
  endif()
  # a sanitized program with LibTorch starts slowly on a busy machine
  set(common DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120 PROPERTIES TIMEOUT 600)
  gtest_discover_tests(${target} TEST_PREFIX ${name}. TEST_FILTER "-*Slow*:*_CUDA*" ${common})
  gtest_discover_tests(${target} TEST_PREFIX ${name}. TEST_FILTER "*Slow*-*_CUDA*" TEST_LIST ${target}_slow
                       ${common} TIMEOUT 3000 LABELS slow)
  gtest_discover_tests(${target} TEST_PREFIX ${name}. TEST_FILTER "*_CUDA*" TEST_LIST ${target}_gpu
                       ${common} LABELS gpu)
endfunction()
