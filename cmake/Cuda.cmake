# SPDX-License-Identifier: MIT
# Adds cuda/ where FASTRNN_CUDA asks for it: ON needs nvcc, AUTO takes it where a wheel is built and nvcc works, and
# says so.

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
add_subdirectory(cuda)
message(STATUS "CUDA: built by ${CMAKE_CUDA_COMPILER} for ${CMAKE_CUDA_ARCHITECTURES}")
