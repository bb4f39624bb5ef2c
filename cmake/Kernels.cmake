# SPDX-License-Identifier: MIT
# Which instruction sets the kernels are compiled for, and with which flags (the only -m flags of the project).
#
#   FASTRNN_PORTABLE_ONLY  an option: no instruction set but the portable one
#   FASTRNN_ISAS        names, the slowest to compile first
#   FASTRNN_TYPES_<isa> the types it is compiled for
#   fastrnn_add_kernels(<kind> <source> <types> <objects>)
#       compiles <source> once per (instruction set x scalar type) as object library fastrnn_<kind>_<isa>_<type>, with
#       FR_ISA=<isa>, FR_SIMD="simd/<header>.h", FR_TYPE=f32|f64|bf16, and sets <objects> to all of their objects
#   fastrnn_kernel_objects(<isa> <objects>)
#       sets <objects> to those of one instruction set, of all kinds

include(CheckCXXSourceCompiles)

list(LENGTH CMAKE_OSX_ARCHITECTURES architectures)
if(architectures GREATER 1)
  message(FATAL_ERROR "fastrnn compiles kernels for one architecture at a time, but CMAKE_OSX_ARCHITECTURES is "
                      "\"${CMAKE_OSX_ARCHITECTURES}\". Build each alone and join the modules with lipo.")
endif()

# The compiler is asked, not CMAKE_SYSTEM_PROCESSOR, which names the host when macOS builds for its other architecture.
check_cxx_source_compiles("
  #if !defined(__x86_64__) && !defined(_M_X64)
  #error
  #endif
  int main() { return 0; }" FASTRNN_X86_64)
check_cxx_source_compiles("
  #if !defined(__aarch64__) && !defined(_M_ARM64)
  #error
  #endif
  int main() { return 0; }" FASTRNN_AARCH64)

# Kernels do not throw. Were they to prepare for it, all would share the symbol of the personality function.
if(NOT CMAKE_CXX_COMPILER_FRONTEND_VARIANT STREQUAL "MSVC")
  set(kernel_flags -fno-exceptions)
endif()
set(FASTRNN_FLAGS_avx512 -mavx512f -mfma -mprfchw -mprefer-vector-width=512)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC's own header leaves operands of masked intrinsics undefined on purpose, and its warning does not know it.
  list(APPEND FASTRNN_FLAGS_avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
endif()
# The instructions of AVX512_BF16 in kernels of their own: those of f32 and f64 run where it is missing.
set(FASTRNN_FLAGS_avx512bf16 ${FASTRNN_FLAGS_avx512} -mavx512bw -mavx512bf16)
set(FASTRNN_FLAGS_avx2 -mavx2 -mfma -mprfchw)
set(FASTRNN_FLAGS_neon "")  # part of the baseline
set(FASTRNN_FLAGS_portable "")

if(FASTRNN_X86_64)
  # g++ may move a pair of floats through an MMX register, and leave the x87 unit of the thread unusable: long double
  # then gives NaN.
  set(FASTRNN_FLAGS_portable -mno-mmx)
endif()
option(FASTRNN_PORTABLE_ONLY "Compile the portable kernels alone" OFF)
if(FASTRNN_PORTABLE_ONLY)
  set(FASTRNN_ISAS portable)
elseif(FASTRNN_X86_64)
  set(FASTRNN_ISAS avx512 avx2 portable)
  set(CMAKE_REQUIRED_FLAGS "-mavx512f -mavx512bf16")  # GCC 10 and Clang 9 know it, and the assembler must
  check_cxx_source_compiles("
    #include <immintrin.h>
    int main() { __m512 c{}; __m512bh a{}; c = _mm512_dpbf16_ps(c, a, a); return int(c[0]); }" FASTRNN_AVX512BF16)
  unset(CMAKE_REQUIRED_FLAGS)
  if(FASTRNN_AVX512BF16)
    list(APPEND FASTRNN_ISAS avx512bf16)
    target_compile_definitions(fastrnn_options INTERFACE FR_TARGET_AVX512BF16)
  endif()
  target_compile_definitions(fastrnn_options INTERFACE FR_TARGETS_X86)
elseif(FASTRNN_AARCH64)
  set(FASTRNN_ISAS neon portable)
  target_compile_definitions(fastrnn_options INTERFACE FR_TARGETS_ARM)
else()
  set(FASTRNN_ISAS portable)
endif()
message(STATUS "Kernels: ${FASTRNN_ISAS}")

foreach(isa IN LISTS FASTRNN_ISAS)
  set(FASTRNN_TYPES_${isa} f32 f64 bf16)
  set(FASTRNN_SIMD_${isa} ${isa})
endforeach()
set(FASTRNN_TYPES_avx512 f32 f64)
set(FASTRNN_TYPES_avx512bf16 bf16)
set(FASTRNN_SIMD_avx512bf16 avx512)

function(fastrnn_kernel_objects isa objects)
  get_property(libraries GLOBAL PROPERTY FASTRNN_LIBRARIES_${isa})
  list(TRANSFORM libraries REPLACE "(.+)" "$<TARGET_OBJECTS:\\1>" OUTPUT_VARIABLE all)
  set(${objects} ${all} PARENT_SCOPE)
endfunction()

function(fastrnn_add_kernels kind source types objects)
  set(all "")
  foreach(isa IN LISTS FASTRNN_ISAS)
    foreach(type IN LISTS FASTRNN_TYPES_${isa})
      if(NOT type IN_LIST types)
        continue()
      endif()
      set(library fastrnn_${kind}_${isa}_${type})
      add_library(${library} OBJECT ${source})
      target_link_libraries(${library} PRIVATE fastrnn_options)
      target_compile_options(${library} PRIVATE ${kernel_flags} ${FASTRNN_FLAGS_${isa}})
      target_compile_definitions(${library} PRIVATE FR_ISA=${isa} FR_SIMD="simd/${FASTRNN_SIMD_${isa}}.h" FR_TYPE=${type})
      set_property(GLOBAL APPEND PROPERTY FASTRNN_LIBRARIES_${isa} ${library})
      list(APPEND all $<TARGET_OBJECTS:${library}>)
    endforeach()
  endforeach()
  set(${objects} ${all} PARENT_SCOPE)
endfunction()
