// SPDX-License-Identifier: MIT
// Runtime API, part 2: kernel launches.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "machine.h"
#include "runtime.h"
#include "statistics.h"

namespace ptxemu {
namespace {

struct CallConfiguration {
  dim3 grid, block;
  size_t shared = 0;
  void* stream = nullptr;
};
thread_local std::vector<CallConfiguration> call_configurations;

uint64_t total_races = 0;

struct LaunchArguments {
  const void* function = nullptr;
  dim3 grid, block, cluster;
  void** arguments = nullptr;
  size_t shared = 0;
  cudaStream_t stream = nullptr;
  bool cooperative = false;
};

Dim3 ToDim3(const dim3& d) { return {d.x, d.y, d.z}; }

bool IsValidShape(const LaunchArguments& launch) {
  const dim3 &g = launch.grid, &b = launch.block, &c = launch.cluster;
  constexpr unsigned kMaxGridYZ = 65535, kMaxBlockZ = 64, kMaxCluster = 16;
  const uint64_t threads = ToDim3(b).Count(), cluster = ToDim3(c).Count();
  if (ToDim3(g).Count() == 0 || g.y > kMaxGridYZ || g.z > kMaxGridYZ) return false;
  if (threads == 0 || threads > kMaxThreadsPerBlock || b.z > kMaxBlockZ) return false;
  if (cluster == 0 || cluster > kMaxCluster) return false;
  return g.x % c.x == 0 && g.y % c.y == 0 && g.z % c.z == 0;
}

std::vector<uint8_t> PackParameters(const Kernel& kernel, void** arguments) {
  std::vector<uint8_t> bytes(kernel.parameter_bytes);
  for (size_t i = 0; i < kernel.parameters.size(); ++i) {
    const Parameter& parameter = kernel.parameters[i];
    std::memcpy(&bytes[parameter.offset], arguments[i], parameter.size);
  }
  return bytes;
}

void RunLaunch(const LaunchRequest& request, const Operation& operation) {
  const Options options = Options::FromEnvironment();
  const OrderQuery ordered = [&operation](uint32_t earlier) { return WorkQueue::Get().IsOrdered(earlier, operation); };
  Launch launch(request, options, operation.id, ordered);
  const auto finish = [&] {
    total_races += launch.reporter().races();
    WriteStatistics(launch);
  };
  try {
    launch.Run();
  } catch (const std::exception&) {
    finish();
    if (options.abort_on_error) std::abort();
    throw;
  }
  finish();
  if (options.abort_on_error && launch.reporter().races() > 0) std::abort();
}

cudaError_t LaunchKernel(LaunchArguments launch) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  const Function* function = FindFunction(launch.function);
  if (function == nullptr) return SetError(cudaErrorInvalidDeviceFunction);
  const std::shared_ptr<Kernel> kernel = function->FindKernel();
  if (kernel == nullptr) {
    const std::string& error = function->module->error;
    std::fprintf(stderr, "[ptxemu] %s: %s\n", function->name.c_str(), error.c_str());
    return SetError(error.empty() ? cudaErrorInvalidDeviceFunction : cudaErrorInvalidKernelImage);
  }
  if (kernel->required_cluster.Count() > 1) {
    const Dim3& required = kernel->required_cluster;
    launch.cluster = dim3(required.x, required.y, required.z);
  }
  if (!IsValidShape(launch)) return SetError(cudaErrorInvalidConfiguration);
  const uint64_t threads = ToDim3(launch.block).Count();
  if (threads > static_cast<uint64_t>(kernel->max_threads)) return SetError(cudaErrorInvalidValue);
  const size_t shared = kernel->shared_bytes + launch.shared;
  const size_t allowed = std::max(48 * 1024, function->max_dynamic_shared);
  if (shared > allowed || shared > kMaxSharedBytes) return SetError(cudaErrorInvalidValue);
  const auto resident = static_cast<uint64_t>(Options::FromEnvironment().resident_blocks);
  if (launch.cooperative && ToDim3(launch.grid).Count() > resident) {
    return SetError(cudaErrorCooperativeLaunchTooLarge);
  }
  if (const cudaError_t error = CheckStream(launch.stream)) return error;
  LaunchRequest request;
  request.kernel = kernel;
  request.grid = ToDim3(launch.grid);
  request.block = ToDim3(launch.block);
  request.cluster = ToDim3(launch.cluster);
  request.dynamic_shared = static_cast<uint32_t>(launch.shared);
  request.parameters = PackParameters(*kernel, launch.arguments);
  request.cooperative = launch.cooperative;
  WorkQueue::Get().Submit(ToStream(launch.stream),
                          [request](const Operation& operation) { RunLaunch(request, operation); });
  return cudaSuccess;
}

}  // namespace

void CountTransferRace(const std::string& place) {
  ++total_races;
  std::fprintf(stderr, "[ptxemu] %s: %s\n", Describe(Finding::kStreamOrder), place.c_str());
  if (Options::FromEnvironment().abort_on_error) std::abort();
}

}  // namespace ptxemu

extern "C" {

using ptxemu::LaunchArguments;

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void* stream) {
  ptxemu::call_configurations.push_back({grid, block, shared, stream});
  return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
  if (ptxemu::call_configurations.empty()) return cudaErrorUnknown;
  const ptxemu::CallConfiguration top = ptxemu::call_configurations.back();
  ptxemu::call_configurations.pop_back();
  *grid = top.grid;
  *block = top.block;
  *shared = top.shared;
  *static_cast<void**>(stream) = top.stream;
  return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments, size_t shared,
                             cudaStream_t stream) {
  return ptxemu::LaunchKernel({function, grid, block, dim3(), arguments, shared, stream, false});
}

cudaError_t __cudaLaunchKernel(cudaKernel_t function, dim3 grid, dim3 block, void** arguments, size_t shared,
                               cudaStream_t stream) {
  return cudaLaunchKernel(reinterpret_cast<const void*>(function), grid, block, arguments, shared, stream);
}

cudaError_t cudaLaunchCooperativeKernel(const void* function, dim3 grid, dim3 block, void** arguments, size_t shared,
                                        cudaStream_t stream) {
  return ptxemu::LaunchKernel({function, grid, block, dim3(), arguments, shared, stream, true});
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function, void** arguments) {
  LaunchArguments launch{function,  config->gridDim,          config->blockDim, dim3(),
                         arguments, config->dynamicSmemBytes, config->stream,   false};
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    const cudaLaunchAttribute& attribute = config->attrs[i];
    if (attribute.id == cudaLaunchAttributeCooperative) {
      launch.cooperative = attribute.val.cooperative != 0;
    } else if (attribute.id == cudaLaunchAttributeClusterDimension) {
      const auto& shape = attribute.val.clusterDim;
      launch.cluster = dim3(shape.x, shape.y, shape.z);
    }
  }
  return ptxemu::LaunchKernel(launch);
}

// Not part of CUDA: races reported so far, for tests.
unsigned long long ptxemu_total_races() {
  ptxemu::WorkQueue::Get().SynchronizeAll();
  return ptxemu::total_races;
}

}  // extern "C"
