# SPDX-License-Identifier: MIT
# Defines the interface library fastrnn_options: language, warnings and flags of every source of the project, and
# stops at compilers that cannot build it.

if(MSVC AND NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR
    "fastrnn needs the vector extension of GCC and Clang (__attribute__((vector_size))), which MSVC's cl does not "
    "have. Build with clang-cl instead: cmake -T ClangCL (Visual Studio generators), or "
    "-DCMAKE_CXX_COMPILER=clang-cl (Ninja).")
endif()

set(oldest_GNU 9)
set(oldest_Clang 14)
set(oldest_AppleClang 14)
if(NOT DEFINED oldest_${CMAKE_CXX_COMPILER_ID})
  message(WARNING "fastrnn is built with GCC and Clang; ${CMAKE_CXX_COMPILER_ID} is untested.")
elseif(CMAKE_CXX_COMPILER_VERSION VERSION_LESS oldest_${CMAKE_CXX_COMPILER_ID})
  message(FATAL_ERROR
    "fastrnn needs ${CMAKE_CXX_COMPILER_ID} ${oldest_${CMAKE_CXX_COMPILER_ID}} or newer, "
    "but ${CMAKE_CXX_COMPILER} is ${CMAKE_CXX_COMPILER_VERSION}.")
endif()

get_property(multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(NOT multi_config AND NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug, Release, RelWithDebInfo or MinSizeRel" FORCE)
endif()

set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)

add_library(fastrnn_options INTERFACE)
target_include_directories(fastrnn_options INTERFACE ${PROJECT_SOURCE_DIR}/csrc)

# Results promise the same bits for any number of threads and any split of the batch. Were the compiler free to
# contract a * b + c, two instances of one template could round differently: fma stands in the sources where it is
# meant.
if(CMAKE_CXX_COMPILER_FRONTEND_VARIANT STREQUAL "MSVC")  # clang-cl
  target_compile_options(fastrnn_options INTERFACE
    /W4 -Wextra /clang:-ffp-contract=off $<$<CONFIG:Release>:/clang:-O3> $<$<BOOL:${FASTRNN_WERROR}>:/WX>)
else()
  target_compile_options(fastrnn_options INTERFACE
    -Wall -Wextra -ffp-contract=off $<$<BOOL:${FASTRNN_WERROR}>:-Werror>)
endif()

if(FASTRNN_SANITIZE)
  target_compile_options(fastrnn_options INTERFACE
    -fsanitize=${FASTRNN_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  if(FASTRNN_SANITIZE MATCHES address AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Checks by calls: inline ones in the unrolled products double the time to compile them.
    target_compile_options(fastrnn_options INTERFACE "SHELL:--param asan-instrumentation-with-call-threshold=0")
  endif()
  target_link_options(fastrnn_options INTERFACE -fsanitize=${FASTRNN_SANITIZE})
endif()
