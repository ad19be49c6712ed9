# Finds LibTorch in the layout of its releases, which the wheel's folder torch/ has too, and
# defines cosdt::torch. CMAKE_PREFIX_PATH, or COSDT_HINTS, names the folder that holds include/ and lib/.
#
# The package's own TorchConfig.cmake is not used: for a CUDA build of LibTorch it demands the whole
# CUDA toolkit, which a program that runs on the CPU does not need.
find_path(LibTorch_INCLUDE_DIR torch/headeronly/version.h HINTS ${COSDT_HINTS} PATH_SUFFIXES include)
find_library(LibTorch_CPU_LIBRARY torch_cpu HINTS ${COSDT_HINTS} PATH_SUFFIXES lib)
find_library(LibTorch_C10_LIBRARY c10 HINTS ${COSDT_HINTS} PATH_SUFFIXES lib)
find_library(LibTorch_CUDA_LIBRARY torch_cuda HINTS ${COSDT_HINTS} PATH_SUFFIXES lib)
mark_as_advanced(LibTorch_INCLUDE_DIR LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_CUDA_LIBRARY)

if(LibTorch_INCLUDE_DIR)
  set(LibTorch_VERSION "")
  foreach(part MAJOR MINOR PATCH)
    file(STRINGS "${LibTorch_INCLUDE_DIR}/torch/headeronly/version.h" line
         REGEX "#define TORCH_VERSION_${part} ")
    string(REGEX MATCH "[0-9]+" number "${line}")
    list(APPEND LibTorch_VERSION "${number}")
  endforeach()
  list(JOIN LibTorch_VERSION "." LibTorch_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  LibTorch REQUIRED_VARS LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_INCLUDE_DIR
  VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "run tests/run.sh once, or name LibTorch's folder in CMAKE_PREFIX_PATH")

if(LibTorch_FOUND AND NOT TARGET cosdt::torch)
  add_library(cosdt::c10 SHARED IMPORTED)
  set_target_properties(cosdt::c10 PROPERTIES IMPORTED_LOCATION "${LibTorch_C10_LIBRARY}")
  add_library(cosdt::torch SHARED IMPORTED)
  set_target_properties(
    cosdt::torch
    PROPERTIES IMPORTED_LOCATION "${LibTorch_CPU_LIBRARY}"
               INTERFACE_INCLUDE_DIRECTORIES
               "${LibTorch_INCLUDE_DIR};${LibTorch_INCLUDE_DIR}/torch/csrc/api/include"
               INTERFACE_LINK_LIBRARIES cosdt::c10)
  if(COSDT_USE_CUDA AND LibTorch_CUDA_LIBRARY)
    # it registers itself for CUDA tensors when it is loaded: nothing refers to its symbols
    set_property(TARGET cosdt::torch APPEND PROPERTY INTERFACE_LINK_LIBRARIES
                                                     "-Wl,--no-as-needed,${LibTorch_CUDA_LIBRARY},--as-needed")
  endif()
endif()
