# Finds LibTorch in the layout of its releases, which the wheel's folder torch/ has too, and
# defines cosdt::torch. CMAKE_PREFIX_PATH, or COSDT_HINTS, names the folder that holds include/ and lib/.
#
# A CUDA build (COSDT_USE_CUDA) takes LibTorch's CUDA half from the same lib/ or, as cmake/setup.sh
# unpacks it, from torch-VERSION-cuda next to torch-VERSION-cpu.
#
# LibTorch's loops over threads (at::parallel_for) are templates: OpenMP runs them in files that are compiled
# with it, else they take one thread. So whatever uses cosdt::torch is compiled with -fopenmp and linked with
# the OpenMP runtime that LibTorch names, preferably the one next to it: a process must have only one.
#
# The package's own TorchConfig.cmake is not used: for a CUDA build of LibTorch it demands the whole
# CUDA toolkit, which a program that runs on the CPU does not need.
find_path(LibTorch_INCLUDE_DIR torch/headeronly/version.h HINTS ${COSDT_HINTS} PATH_SUFFIXES include)
find_library(LibTorch_CPU_LIBRARY torch_cpu HINTS ${COSDT_HINTS} PATH_SUFFIXES lib)
find_library(LibTorch_C10_LIBRARY c10 HINTS ${COSDT_HINTS} PATH_SUFFIXES lib)
set(LibTorch_required LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_INCLUDE_DIR LibTorch_OpenMP_LIBRARY)
set(LibTorch_remedy "run tests/run.sh once, or name LibTorch's folder in CMAKE_PREFIX_PATH")
get_filename_component(LibTorch_folder "${LibTorch_CPU_LIBRARY}" DIRECTORY)

if(LibTorch_CPU_LIBRARY AND NOT LibTorch_OpenMP_LIBRARY)
  execute_process(COMMAND "${CMAKE_READELF}" -d "${LibTorch_CPU_LIBRARY}" OUTPUT_VARIABLE needed)
  string(REGEX MATCH "lib(gomp|iomp5|omp)[^]]*" runtime "${needed}")
  find_library(LibTorch_OpenMP_LIBRARY NAMES "${runtime}" PATHS "${LibTorch_folder}" NO_DEFAULT_PATH)
  find_library(LibTorch_OpenMP_LIBRARY NAMES "${runtime}")
  if(NOT LibTorch_OpenMP_LIBRARY)
    set(LibTorch_remedy
        "expected a LibTorch with OpenMP threads and its runtime next to it or in the system, found none that ${LibTorch_CPU_LIBRARY} needs")
  endif()
endif()
mark_as_advanced(LibTorch_INCLUDE_DIR LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_OpenMP_LIBRARY)

if(COSDT_USE_CUDA AND LibTorch_CPU_LIBRARY)
  set(LibTorch_cuda_folders "${LibTorch_folder}")
  foreach(kind IN ITEMS cuda cuda-link)
    string(REGEX REPLACE "-cpu/torch/lib$" "-${kind}/torch/lib" folder "${LibTorch_folder}")
    list(APPEND LibTorch_cuda_folders "${folder}")
  endforeach()
  find_library(LibTorch_CUDA_LIBRARY torch_cuda PATHS ${LibTorch_cuda_folders} NO_DEFAULT_PATH)
  find_library(LibTorch_C10_CUDA_LIBRARY c10_cuda PATHS ${LibTorch_cuda_folders} NO_DEFAULT_PATH)
  mark_as_advanced(LibTorch_CUDA_LIBRARY LibTorch_C10_CUDA_LIBRARY)
  list(APPEND LibTorch_required LibTorch_CUDA_LIBRARY LibTorch_C10_CUDA_LIBRARY)
  if(NOT LibTorch_CUDA_LIBRARY OR NOT LibTorch_C10_CUDA_LIBRARY)
    set(LibTorch_remedy
        "a CUDA build needs libtorch_cuda.so and libc10_cuda.so: expected next to ${LibTorch_CPU_LIBRARY}, found a LibTorch without CUDA. Run cmake/setup.sh with COSDT_CUDA=ON, or name a LibTorch with CUDA in CMAKE_PREFIX_PATH, or configure with COSDT_CUDA=OFF")
  endif()
endif()

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
find_package_handle_standard_args(LibTorch REQUIRED_VARS ${LibTorch_required} VERSION_VAR LibTorch_VERSION
                                  REASON_FAILURE_MESSAGE "${LibTorch_remedy}")

if(LibTorch_FOUND AND NOT TARGET cosdt::torch)
  add_library(cosdt::c10 SHARED IMPORTED)
  set_target_properties(cosdt::c10 PROPERTIES IMPORTED_LOCATION "${LibTorch_C10_LIBRARY}")
  set(LibTorch_openmp "${LibTorch_OpenMP_LIBRARY}")
  if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
    set(LibTorch_openmp -fopenmp) # LLVM's runtime, which its code calls and which stands in for LibTorch's
  endif()
  add_library(cosdt::torch SHARED IMPORTED)
  set_target_properties(
    cosdt::torch
    PROPERTIES IMPORTED_LOCATION "${LibTorch_CPU_LIBRARY}"
               INTERFACE_INCLUDE_DIRECTORIES
               "${LibTorch_INCLUDE_DIR};${LibTorch_INCLUDE_DIR}/torch/csrc/api/include"
               INTERFACE_COMPILE_OPTIONS "$<$<COMPILE_LANGUAGE:CXX>:-fopenmp>"
               INTERFACE_LINK_LIBRARIES "cosdt::c10;${LibTorch_openmp}")
  if(COSDT_USE_CUDA)
    # one CUDA runtime in a process: the toolkit's must be of the version that LibTorch has
    file(STRINGS "${LibTorch_C10_CUDA_LIBRARY}" runtime REGEX "^libcudart\\.so\\.[0-9]+$" LIMIT_COUNT 1)
    string(REGEX MATCH "[0-9]+$" runtime "${runtime}")
    if(runtime AND CUDAToolkit_VERSION AND NOT runtime EQUAL CUDAToolkit_VERSION_MAJOR)
      message(FATAL_ERROR "CUDA toolkit: expected version ${runtime}, which LibTorch "
                          "(${LibTorch_C10_CUDA_LIBRARY}) is built with, found ${CUDAToolkit_VERSION}")
    endif()
    add_library(cosdt::c10_cuda SHARED IMPORTED)
    set_target_properties(cosdt::c10_cuda PROPERTIES IMPORTED_LOCATION "${LibTorch_C10_CUDA_LIBRARY}")
    add_library(cosdt::torch_cuda SHARED IMPORTED)
    set_target_properties(cosdt::torch_cuda PROPERTIES IMPORTED_LOCATION "${LibTorch_CUDA_LIBRARY}")
    # libtorch_cuda registers itself for CUDA tensors when it is loaded: the linker must keep it although
    # nothing may refer to its symbols. Its own dependencies (cuDNN, NCCL ..) may be only on the
    # machine that runs the program.
    set_property(
      TARGET cosdt::torch APPEND
      PROPERTY INTERFACE_LINK_LIBRARIES cosdt::torch_cuda cosdt::c10_cuda
               "-Wl,--push-state,--no-as-needed,${LibTorch_CUDA_LIBRARY},${LibTorch_C10_CUDA_LIBRARY},--pop-state"
               "-Wl,--allow-shlib-undefined")
  endif()
endif()
