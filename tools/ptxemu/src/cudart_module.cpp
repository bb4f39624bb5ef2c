// SPDX-License-Identifier: MIT
// Runtime API, part 1: fat binaries, kernels and variables, as code made by nvcc registers them.

#include <cstdio>
#include <cstring>
#include <map>

#include "memory.h"
#include "parser.h"
#include "runtime.h"

namespace ptxemu {
namespace {

std::map<const void*, Function>& Functions() {
  static auto* map = new std::map<const void*, Function>;
  return *map;
}

std::map<const void*, Variable>& Variables() {
  static auto* map = new std::map<const void*, Variable>;
  return *map;
}

// Layout of the fat binary that nvcc puts into the program.
struct FatBinaryWrapper {
  int magic, version;
  const uint8_t* data;
  void* unused;
};
struct FatBinaryHeader {
  uint32_t magic;
  uint16_t version, header_size;
  uint64_t size;
};
constexpr uint32_t kFatBinaryMagic = 0xBA55ED50u;
struct FatBinaryEntry {
  uint16_t kind, unused0;
  uint32_t header_size;
  uint64_t size;
  uint32_t unused1[3];
  uint32_t architecture;
  uint64_t unused2;
  uint64_t flags;
  uint64_t unused3;
  uint64_t uncompressed_size;
};
constexpr uint16_t kPtxKind = 1;
constexpr uint64_t kCompressedFlags = 0xA000;

// Picks the PTX of the newest architecture, or of the one asked for; "" and *error if there is
// none.
std::string FindPtx(const uint8_t* data, std::string* error) {
  const Options options = Options::FromEnvironment();
  FatBinaryHeader header;
  std::memcpy(&header, data, sizeof(header));
  if (header.magic != kFatBinaryMagic) {
    *error = "unknown fat binary format";
    return "";
  }
  std::string ptx;
  int best = -1;
  *error = "no PTX in the fat binary: build with -gencode arch=compute_XX,code=compute_XX";
  const uint8_t* position = data + header.header_size;
  const uint8_t* end = position + header.size;
  while (position + sizeof(FatBinaryEntry) <= end) {
    FatBinaryEntry entry;
    std::memcpy(&entry, position, sizeof(entry));
    const auto* text = reinterpret_cast<const char*>(position + entry.header_size);
    position += entry.header_size + entry.size;
    const int architecture = static_cast<int>(entry.architecture);
    const bool wanted = options.ptx_architecture == 0 || options.ptx_architecture == architecture;
    if (entry.kind != kPtxKind || !wanted || architecture <= best) continue;
    if ((entry.flags & kCompressedFlags) != 0 && entry.uncompressed_size != 0 &&
        entry.uncompressed_size != entry.size) {
      *error = "the PTX in the fat binary is compressed: build with nvcc --no-compress";
      continue;
    }
    best = architecture;
    ptx.assign(text, strnlen(text, entry.size));
  }
  if (best >= 0) error->clear();
  return ptx;
}

LoadedModule* LoadModule(const uint8_t* data) {
  auto* loaded = new LoadedModule;
  const std::string ptx = FindPtx(data, &loaded->error);
  if (loaded->error.empty()) {
    try {
      ParseModule(ptx, &loaded->module);
    } catch (const std::exception& error) { loaded->error = error.what(); }
  }
  for (const auto& [name, symbol] : loaded->module.symbols) {
    if (symbol.space == Space::kShared) continue;
    AllocationTable::Get().Add(reinterpret_cast<void*>(symbol.address), symbol.size, name);
  }
  if (!loaded->error.empty() && HasDevice()) { std::fprintf(stderr, "[ptxemu] module: %s\n", loaded->error.c_str()); }
  return loaded;
}

}  // namespace

std::shared_ptr<Kernel> Function::FindKernel() const {
  if (!module->error.empty()) return nullptr;
  const auto found = module->module.kernels.find(name);
  return found == module->module.kernels.end() ? nullptr : found->second;
}

Function* FindFunction(const void* host_stub) {
  const auto found = Functions().find(host_stub);
  return found == Functions().end() ? nullptr : &found->second;
}

void* FindVariable(const void* host_variable) {
  const auto variable = Variables().find(host_variable);
  if (variable == Variables().end()) return nullptr;
  const auto& symbols = variable->second.module->module.symbols;
  const auto symbol = symbols.find(variable->second.name);
  return symbol == symbols.end() ? nullptr : reinterpret_cast<void*>(symbol->second.address);
}

}  // namespace ptxemu

extern "C" {

void** __cudaRegisterFatBinary(void* wrapper) {
  const auto* fat_binary = static_cast<const ptxemu::FatBinaryWrapper*>(wrapper);
  return reinterpret_cast<void**>(ptxemu::LoadModule(fat_binary->data));
}

void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
char __cudaInitModule(void**) { return 1; }

void __cudaRegisterFunction(void** module, const char* host_stub, char*, const char* device_name, int, uint3*, uint3*,
                            dim3*, dim3*, int*) {
  ptxemu::Function function;
  function.module = reinterpret_cast<ptxemu::LoadedModule*>(module);
  function.name = device_name;
  ptxemu::Functions()[host_stub] = function;
}

void __cudaRegisterVar(void** module, char* host_variable, char*, const char* device_name, int, size_t, int, int) {
  ptxemu::Variables()[host_variable] = {reinterpret_cast<ptxemu::LoadedModule*>(module), device_name};
}

cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* host_stub) {
  *kernel = static_cast<cudaKernel_t>(const_cast<void*>(host_stub));
  return cudaSuccess;
}

}  // extern "C"
