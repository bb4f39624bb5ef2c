// SPDX-License-Identifier: MIT
// The word in which persistent kernels say that a block waited for another one in vain (exchange.cuh): one of each
// device, in its memory.
#pragma once
#include <cuda_runtime_api.h>
#include "device/api.h"
namespace fastrnn {

// That of the current device, for a launch; zero at first
Status deadlock_word(unsigned** word);

// Waits for the stream. kDeadlock where a kernel on the device has set the word since it was last looked at, which
// clears it: the results of calls in between are void.
Status synchronize_and_look(cudaStream_t stream);

}  // namespace fastrnn
