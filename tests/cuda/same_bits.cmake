# SPDX-License-Identifier: MIT
# Runs PROGRAM twice and fails where a run fails or prints anything else than the other one. An emulator of the runtime
# that schedules threads by the seed in PTXEMU_SEED takes another schedule each time, with a cache of its own for each block
# (PTXEMU_WEAK) in the second run; a device chooses for itself. What is printed to stderr is a finding of the emulator.

foreach(seed 1 2)
  math(EXPR weak "${seed} - 1")
  execute_process(
    COMMAND ${CMAKE_COMMAND} -E env PTXEMU_SEED=${seed} PTXEMU_WEAK=${weak} ${PROGRAM}
    RESULT_VARIABLE status
    OUTPUT_VARIABLE output_${seed}
    ERROR_VARIABLE errors)
  message("${output_${seed}}${errors}")
  if(output_${seed} MATCHES "SKIPPED: ")
    return()
  endif()
  if(NOT status EQUAL 0 OR NOT errors STREQUAL "")
    message(FATAL_ERROR "run ${seed} of ${PROGRAM} failed: ${status}")
  endif()
endforeach()
if(NOT output_1 STREQUAL output_2)
  message(FATAL_ERROR "two runs of ${PROGRAM} differ")
endif()
