// SPDX-License-Identifier: MIT
#include "library.h"
#include <cstdlib>
#if !defined(_WIN32)
#include <dlfcn.h>
#endif
namespace fastrnn {
namespace {
struct Opened {
  const DeviceLibrary* library = nullptr;
  std::string why;
};

#if defined(_WIN32)
Opened open() { return {nullptr, "fastrnn has no CUDA kernels on Windows"}; }
#else
// FASTRNN_CUDA_LIBRARY, else in a folder beside the module that this function is in: beside it, a .so looks like a
// module of the package
std::string path_of_library() {
  if (const char* given = std::getenv("FASTRNN_CUDA_LIBRARY")) return given;
  Dl_info here;
  static const char anchor = 0;
  if (!dladdr(&anchor, &here) || !here.dli_fname) return "libfastrnn_cuda.so";
  const std::string module = here.dli_fname;
  return module.substr(0, module.rfind('/') + 1) + "lib/libfastrnn_cuda.so";
}

constexpr int kLeastCapability = 8;  // Ampere, which has cp.async and mma.sync of bfloat16

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// Whether there is a device that it can use; else why not
std::string find_device(const DeviceLibrary& library) {
  int runtime = 0, driver = 0, devices = 0;
  if (const Status status = library.versions(&runtime, &driver)) return library.describe(status);
  if (driver == 0) return "there is no NVIDIA driver";
  if (driver / 1000 < runtime / 1000)
    return "the NVIDIA driver supports CUDA " + version_text(driver) + ", but fastrnn was built with CUDA " +
           version_text(runtime);
  if (const Status status = library.count(&devices)) return library.describe(status);
  DeviceProperties found{};
  for (int device = 0; device < devices; ++device) {
    if (const Status status = library.properties(device, &found)) return library.describe(status);
    if (found.major >= kLeastCapability) return "";
  }
  if (!devices) return "the NVIDIA driver finds no device";
  return std::string("the kernels need compute capability 8.0, but a ") + found.name + " has " +
         std::to_string(found.major) + "." + std::to_string(found.minor);
}

Opened open() {
  const std::string path = path_of_library();
  void* const handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char* const reason = dlerror();
    return {nullptr, "the library of CUDA kernels cannot be opened (it is built where the installation finds nvcc): " +
                         std::string(reason ? reason : path)};
  }
  using Entry = const DeviceLibrary* (*)();
  const Entry entry = reinterpret_cast<Entry>(dlsym(handle, "fastrnn_cuda_library"));
  if (!entry) return {nullptr, path + " is no library of fastrnn"};
  const DeviceLibrary* const library = entry();
  if (library->version != kDeviceLibraryVersion)
    return {nullptr, path + " belongs to another build of fastrnn: its interface is " +
                         std::to_string(library->version) + ", expected " + std::to_string(kDeviceLibraryVersion)};
  return {library, find_device(*library)};
}
#endif

const Opened& opened() {
  static const Opened found = open();
  return found;
}
}  // namespace

const std::string& why_no_device() { return opened().why; }

const DeviceLibrary& device_library() {
  const Opened& found = opened();
  if (!found.why.empty()) throw DeviceError("CUDA cannot be used: " + found.why);
  return *found.library;
}
}  // namespace fastrnn
