# Where every dependency is found, and why the project has it.
#
# LibTorch and MuJoCo are pinned: cmake/setup.sh unpacks them into .deps (or $COSDT_DEPS). Their find
# modules take these folders as hints, which come after CMAKE_PREFIX_PATH, as a variable or in the
# environment: a user's own LibTorch or MuJoCo is used if it is named there.
set(default_deps "${PROJECT_SOURCE_DIR}/.deps")
if(DEFINED ENV{COSDT_DEPS})
  set(default_deps "$ENV{COSDT_DEPS}")
endif()
set(COSDT_DEPS "${default_deps}" CACHE PATH "folder that cmake/setup.sh unpacked LibTorch and MuJoCo into")
set(COSDT_HINTS "")
foreach(name IN ITEMS torch mujoco)
  file(STRINGS "${PROJECT_SOURCE_DIR}/cmake/wheels.txt" pin REGEX "^${name}==")
  string(REGEX REPLACE "^${name}==([0-9.]+).*" "\\1" version "${pin}")
  set(folder "${COSDT_DEPS}/${name}-${version}")
  if(name STREQUAL "torch")
    # the CUDA compiler that cmake/setup.sh brings with LibTorch's CUDA half
    file(GLOB provisioned_nvcc "${folder}-cuda/nvidia/cu*/bin/nvcc")
    string(APPEND folder "-cpu") # its headers serve CUDA builds too
  endif()
  list(APPEND COSDT_HINTS "${folder}/${name}")
  set(COSDT_PIN_${name} ${version})
endforeach()
if(COSDT_PYTHON) # a wheel for this Python, whose packages have the same layout
  execute_process(COMMAND "${COSDT_PYTHON}" -c "import sysconfig; print(sysconfig.get_path('platlib'))"
                  OUTPUT_VARIABLE site OUTPUT_STRIP_TRAILING_WHITESPACE)
  list(APPEND COSDT_HINTS "${site}/torch" "${site}/mujoco")
endif()

# CUDA is compiled in if there is a device, or on request; nothing needs it
if(NOT COSDT_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "COSDT_CUDA: expected AUTO, ON or OFF, found ${COSDT_CUDA}")
endif()
set(COSDT_USE_CUDA ${COSDT_CUDA})
if(COSDT_CUDA STREQUAL "AUTO")
  execute_process(COMMAND nvidia-smi -L RESULT_VARIABLE no_device OUTPUT_QUIET ERROR_QUIET)
  set(COSDT_USE_CUDA OFF)
  if(no_device EQUAL 0)
    set(COSDT_USE_CUDA ON)
  endif()
endif()
if(COSDT_USE_CUDA)
  if(provisioned_nvcc AND NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    set(CMAKE_CUDA_COMPILER "${provisioned_nvcc}")
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER AND COSDT_CUDA STREQUAL "AUTO")
    message(WARNING "a GPU and no nvcc: building for the CPU alone (cmake/setup.sh installs nvcc with COSDT_CUDA=ON)")
    set(COSDT_USE_CUDA OFF)
  elseif(NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "COSDT_CUDA=ON: expected nvcc of the CUDA toolkit, found none; add its folder to PATH, "
                        "or run cmake/setup.sh with COSDT_CUDA=ON, which installs one")
  endif()
endif()
if(COSDT_USE_CUDA)
  set(CMAKE_CUDA_ARCHITECTURES 80 90 100 CACHE STRING "compute capabilities of the GPUs that kernels are compiled for")
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared) # LibTorch's own
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION) # which CMake 3.25.1 does not know of nvcc
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  find_package(CUDAToolkit REQUIRED)
endif()

# tensors, automatic differentiation, matrix products
find_package(LibTorch 2.11 REQUIRED)
if(COSDT_USE_CUDA)
  # an installed program finds them in place (CosdtInstall.cmake)
  foreach(library IN ITEMS ${LibTorch_CPU_LIBRARY} ${LibTorch_CUDA_LIBRARY} ${CUDA_cudart_LIBRARY})
    get_filename_component(folder "${library}" DIRECTORY)
    list(APPEND CMAKE_INSTALL_RPATH "${folder}")
  endforeach()
endif()
# runs on several processes: headers alone, of the Gloo that LibTorch has inside
find_path(Gloo_INCLUDE_DIR gloo/rendezvous/store.h REQUIRED)
# vector instructions of the attention kernels, chosen at run time
find_package(HWY REQUIRED)
# rigid-body simulation of hopper, half cheetah and walker2d
find_package(MuJoCo 3.3 REQUIRED)
# D4RL's file format (the C interface: the C++ one adds exceptions without context)
find_package(HDF5 1.10.7 REQUIRED COMPONENTS C)
# inflates the chunks of those files, 1.7 times faster than the zlib within HDF5
find_package(Deflate REQUIRED)
# downloads them, and checks their SHA-256
find_package(CURL REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
# subcommands, options and their help
find_package(CLI11 REQUIRED)
# --json output, run metadata
find_package(nlohmann_json REQUIRED)
# config files and presets of training runs, and TensorBoard's event files: header-only, so that a
# moved program needs no library for them (libprotobuf does not go with LibTorch's own)
find_path(Tomlplusplus_INCLUDE_DIR toml++/toml.h REQUIRED)
find_path(Protozero_INCLUDE_DIR protozero/pbf_writer.hpp REQUIRED)
add_library(cosdt_training_files INTERFACE)
add_library(cosdt::training_files ALIAS cosdt_training_files)
target_include_directories(cosdt_training_files SYSTEM INTERFACE "${Tomlplusplus_INCLUDE_DIR}"
                                                                 "${Protozero_INCLUDE_DIR}")
# fills in the page of cosdt report: header-only
find_path(Mustache_INCLUDE_DIR kainjow/mustache.hpp REQUIRED)
# the VectorEnv's and the readers' threads
find_package(Threads REQUIRED)

if(COSDT_BUILD_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()
