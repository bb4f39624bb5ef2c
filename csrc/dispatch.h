// SPDX-License-Identifier: MIT
// Which kernels this processor runs: the first target of an ordered list that it supports.
#pragma once
#include <string>
#include <vector>
#include "models/api.h"
namespace fastrnn {

// Targets this processor supports, best first
std::vector<std::string> available_targets();

// All targets that were built, best first, and whether this processor supports them
struct BuiltTarget {
  std::string name;
  bool supported;
};
std::vector<BuiltTarget> built_targets();

// The target of that name; for "" the one that the environment variable FASTRNN_ISA names, else the best.
// std::invalid_argument, naming the available ones, where it is unknown or the processor lacks it.
const KernelTable& find_target(const std::string& isa);

template <class T> const Kernels<T>& kernels_of(const KernelTable& table);
template <> inline const Kernels<float>& kernels_of<float>(const KernelTable& table) { return table.f32; }
template <> inline const Kernels<double>& kernels_of<double>(const KernelTable& table) { return table.f64; }

template <class T> const ModelKernels<T>& models_of(const KernelTable& table);
template <> inline const ModelKernels<float>& models_of<float>(const KernelTable& table) { return *table.models_f32; }
template <> inline const ModelKernels<double>& models_of<double>(const KernelTable& table) { return *table.models_f64; }

}  // namespace fastrnn
