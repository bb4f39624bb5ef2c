// SPDX-License-Identifier: MIT
// From CUDA's errors to the numbers that cross to the core.
#pragma once
#include <cuda_runtime_api.h>
#include "device/api.h"
namespace fastrnn {

inline cudaStream_t as_stream(Stream stream) { return static_cast<cudaStream_t>(stream); }

// The status of a launch just made
inline Status launched() { return static_cast<Status>(cudaGetLastError()); }

// Leaves a function with the first error of its calls
#define FR_TRY(...)                                                   \
  do {                                                                \
    const fastrnn::Status tried = fastrnn::Status(__VA_ARGS__);       \
    if (tried) return tried;                                          \
  } while (false)

}  // namespace fastrnn
