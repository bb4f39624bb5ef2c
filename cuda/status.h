// SPDX-License-Identifier: MIT
// From CUDA's errors to the numbers that cross to the core.
#pragma once
#include <cuda_runtime_api.h>
#include "device/api.h"
namespace fastrnn {

inline cudaStream_t as_stream(Stream stream) { return static_cast<cudaStream_t>(stream); }

// The status of a launch just made
inline Status launched() { return static_cast<Status>(cudaGetLastError()); }

// Leaves the function where a call failed
#define FR_TRY(call)                                         \
  do {                                                       \
    const fastrnn::Status status_of_call = fastrnn::Status(call); \
    if (status_of_call) return status_of_call;               \
  } while (false)

}  // namespace fastrnn
