# `cmake --install` and the package that find_package(cosdt) reads. Every folder's library is a
# component with an export file of its own, so that envs or datasets can be taken without LibTorch.
include(CMakePackageConfigHelpers)

function(cosdt_install_library name)
  install(TARGETS cosdt_${name} EXPORT cosdt-${name} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  if(TARGET cosdt_${name}_cuda)
    install(TARGETS cosdt_${name}_cuda EXPORT cosdt-${name} OBJECTS DESTINATION ${CMAKE_INSTALL_LIBDIR}/cosdt)
  endif()
  install(EXPORT cosdt-${name} NAMESPACE cosdt:: FILE cosdt-${name}.cmake
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/cosdt)
  install(DIRECTORY "${PROJECT_SOURCE_DIR}/${name}" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/cosdt
          FILES_MATCHING PATTERN "*.h" PATTERN assets EXCLUDE)
endfunction()

# Installs what cmake/setup.sh downloaded; a user's own copy stays in place.
function(cosdt_install_provisioned library include_dir)
  cmake_path(IS_PREFIX COSDT_DEPS "${library}" provisioned)
  if(NOT provisioned)
    return()
  endif()
  get_filename_component(folder "${library}" DIRECTORY)
  install(DIRECTORY "${folder}/" DESTINATION ${CMAKE_INSTALL_LIBDIR}
          FILES_MATCHING REGEX "/lib(mujoco|torch_cpu|c10|gomp)[.]so")
  install(DIRECTORY "${include_dir}/" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
          FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
  file(GLOB cuda "${folder}/../../nvidia/*/lib/*.so*") # which libtorch_cpu needs
  list(FILTER cuda INCLUDE REGEX "lib(cudart|cupti)\\.so")
  install(FILES ${cuda} DESTINATION ${CMAKE_INSTALL_LIBDIR})
endfunction()

function(cosdt_install_package)
  set(CMAKE_INSTALL_MESSAGE NEVER) # LibTorch alone has ten thousand headers
  foreach(name IN LISTS COSDT_LIBRARIES)
    cosdt_install_library(${name})
  endforeach()
  install(TARGETS cosdt RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  cosdt_install_provisioned("${MuJoCo_LIBRARY}" "${MuJoCo_INCLUDE_DIR}")
  set(COSDT_LIBTORCH_PREFIX "")
  if(COSDT_USE_CUDA)
    # gigabytes, which the machine that runs the program may already have: the program and the package
    # look for them in the build's folders
    cmake_path(GET LibTorch_INCLUDE_DIR PARENT_PATH COSDT_LIBTORCH_PREFIX)
  else()
    cosdt_install_provisioned("${LibTorch_CPU_LIBRARY}" "${LibTorch_INCLUDE_DIR}")
  endif()

  set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/cosdt)
  configure_package_config_file(
    "${PROJECT_SOURCE_DIR}/cmake/cosdtConfig.cmake.in" "${PROJECT_BINARY_DIR}/cosdtConfig.cmake"
    INSTALL_DESTINATION ${package_dir})
  write_basic_package_version_file("${PROJECT_BINARY_DIR}/cosdtConfigVersion.cmake"
                                   COMPATIBILITY SameMinorVersion)
  install(FILES "${PROJECT_BINARY_DIR}/cosdtConfig.cmake" "${PROJECT_BINARY_DIR}/cosdtConfigVersion.cmake"
                "${PROJECT_SOURCE_DIR}/cmake/FindDeflate.cmake" "${PROJECT_SOURCE_DIR}/cmake/FindLibTorch.cmake"
                "${PROJECT_SOURCE_DIR}/cmake/FindMuJoCo.cmake"
          DESTINATION ${package_dir})
endfunction()
