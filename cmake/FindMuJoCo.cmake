# Finds MuJoCo in the layout of its releases, which cmake/setup.sh gives the wheel's files too, or in that of the Python
# package, and defines cosdt::mujoco. CMAKE_PREFIX_PATH names the folder, or COSDT_HINTS does; MuJoCo_VERSION is read
# from the header.
find_path(MuJoCo_INCLUDE_DIR mujoco/mujoco.h HINTS ${COSDT_HINTS} PATH_SUFFIXES include)
find_library(MuJoCo_LIBRARY NAMES mujoco libmujoco.so.${COSDT_PIN_mujoco} HINTS ${COSDT_HINTS} PATH_SUFFIXES lib)
mark_as_advanced(MuJoCo_INCLUDE_DIR MuJoCo_LIBRARY)

if(MuJoCo_INCLUDE_DIR)
  file(STRINGS "${MuJoCo_INCLUDE_DIR}/mujoco/mujoco.h" line REGEX "#define mjVERSION_HEADER +[0-9]+")
  string(REGEX REPLACE ".*mjVERSION_HEADER +([0-9]+).*" "\\1" number "${line}")
  # 335 is 3.3.5; newer headers give three digits to minor and to patch (4000001 is 4.0.1)
  if(number LESS 1000)
    string(REGEX REPLACE "^(.)(.)(.)$" "\\1.\\2.\\3" MuJoCo_VERSION "${number}")
  else()
    math(EXPR major "${number} / 1000000")
    math(EXPR minor "${number} / 1000 % 1000")
    math(EXPR patch "${number} % 1000")
    set(MuJoCo_VERSION "${major}.${minor}.${patch}")
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  MuJoCo REQUIRED_VARS MuJoCo_LIBRARY MuJoCo_INCLUDE_DIR VERSION_VAR MuJoCo_VERSION
  REASON_FAILURE_MESSAGE "run tests/run.sh once, or name MuJoCo's folder in CMAKE_PREFIX_PATH")

if(MuJoCo_FOUND AND NOT TARGET cosdt::mujoco)
  add_library(cosdt::mujoco SHARED IMPORTED)
  set_target_properties(cosdt::mujoco PROPERTIES IMPORTED_LOCATION "${MuJoCo_LIBRARY}"
                        INTERFACE_INCLUDE_DIRECTORIES "${MuJoCo_INCLUDE_DIR}")
endif()
