# cmake -D BUILD=.. -D SOURCE=.. -D WORK=.. -D GENERATOR=.. -P install_test.cmake
function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE "${WORK}")
run(${CMAKE_COMMAND} --install "${BUILD}" --prefix "${WORK}/first")
file(RENAME "${WORK}/first" "${WORK}/moved")

# an empty environment: no library path, no prefix path
run(env -i "${WORK}/moved/bin/cosdt" rollout --env hopper --policy random --episodes 2)

# envs and datasets alone, and with them no LibTorch; then everything
foreach(consumer IN ITEMS envs datasets agents)
  run(${CMAKE_COMMAND} -G "${GENERATOR}" -S "${SOURCE}/${consumer}_consumer" -B "${WORK}/${consumer}"
      -D "CMAKE_PREFIX_PATH=${WORK}/moved" -D CMAKE_BUILD_TYPE=Release
      -D "README=${SOURCE}/../../README.md")
  run(${CMAKE_COMMAND} --build "${WORK}/${consumer}")
  run(env -i "${WORK}/${consumer}/consumer" "${WORK}/agent.safetensors")
endforeach()
run(env -i "${WORK}/agents/example" "${WORK}/agent.safetensors")
file(REMOVE_RECURSE "${WORK}")
