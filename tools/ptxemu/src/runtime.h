// SPDX-License-Identifier: MIT
// State of the stand-in CUDA runtime that its parts share: modules, kernels, variables, errors.

#ifndef PTXEMU_RUNTIME_H_
#define PTXEMU_RUNTIME_H_

#include <cuda_runtime_api.h>

#include <string>

#include "instruction.h"
#include "options.h"
#include "work_queue.h"

namespace ptxemu {

// One fat binary of the program, registered when it is loaded.
struct LoadedModule {
  Module module;
  std::string error;  // why it cannot be used, "" if it can
};

struct Function {
  LoadedModule* module = nullptr;
  std::string name;
  int max_dynamic_shared = 48 * 1024;
  // Null if the module or the kernel cannot be used.
  std::shared_ptr<Kernel> FindKernel() const;
};

struct Variable {
  LoadedModule* module = nullptr;
  std::string name;
};

// By the address of the host stub or the host shadow variable; null if unknown.
Function* FindFunction(const void* host_stub);
// Device address of a __device__ or __constant__ variable; null if unknown.
void* FindVariable(const void* host_variable);

// Remembers the error for cudaGetLastError and returns it.
cudaError_t SetError(cudaError_t error);
// Error of the asynchronous work done so far, else success.
cudaError_t AsynchronousError();

bool HasDevice();
Stream* ToStream(cudaStream_t stream);
// cudaErrorInvalidResourceHandle of a stream that was destroyed, remembered, else success.
cudaError_t CheckStream(cudaStream_t stream);

// Limits of the simulated device; sm_80 or sm_90 by PTXEMU_CC.
int MaxSharedPerBlockOptIn();
int MaxSharedPerMultiprocessor();
int EstimatedRegisters(const Kernel& kernel);

// Checks a range that an operation other than a kernel reads or writes, and records it for the
// checks of later operations. Throws EmulationError unless it is device memory.
void CheckTransfer(const Operation& operation, const void* address, size_t bytes, bool is_write, const char* what);

// Counts and prints a conflict of a transfer with an operation in another stream.
void CountTransferRace(const std::string& place);

}  // namespace ptxemu

#endif  // PTXEMU_RUNTIME_H_
