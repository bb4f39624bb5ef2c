# SPDX-License-Identifier: MIT
# Adds cuda/ where FASTRNN_CUDA asks for it: ON needs nvcc, AUTO takes it where a wheel is built and nvcc works, and
# says so.
#
# CMAKE_CUDA_ARCHITECTURES, CMAKE_CUDA_RUNTIME_LIBRARY (Static) and CMAKE_CUDA_FLAGS may be given as usual.

if(FASTRNN_CUDA STREQUAL "AUTO" AND NOT DEFINED SKBUILD)
  message(STATUS "CUDA: not built (-DFASTRNN_CUDA=ON builds it)")
  return()
endif()
if(NOT FASTRNN_CUDA)
  message(STATUS "CUDA: not built (FASTRNN_CUDA=OFF)")
  return()
endif()
include(CheckLanguage)
if(FASTRNN_CUDA STREQUAL "AUTO")
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    message(STATUS "CUDA: not built, for no working nvcc was found; device=\"cuda\" will say so")
    return()
  endif()
endif()
# Machine code for the two generations that the kernels were shaped for, and PTX that drivers translate for the others,
# once: each further architecture would add as much to the time and the size of the build.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 80-virtual)
endif()
if(NOT DEFINED CMAKE_CUDA_RUNTIME_LIBRARY)
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
endif()
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
enable_language(CUDA)

if(FASTRNN_CUDA STREQUAL "AUTO")
  execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --version OUTPUT_VARIABLE said ERROR_QUIET)
  string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" release "${said}")
  if(NOT release OR CMAKE_MATCH_1 VERSION_LESS 11.8)  # the first that knows compute_90
    message(STATUS "CUDA: not built, for ${CMAKE_CUDA_COMPILER} is of release \"${CMAKE_MATCH_1}\" and 11.8 is needed")
    return()
  endif()
endif()
add_subdirectory(cuda)
message(STATUS "CUDA: built by ${CMAKE_CUDA_COMPILER} for ${CMAKE_CUDA_ARCHITECTURES}")
