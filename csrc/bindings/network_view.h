// SPDX-License-Identifier: MIT
// What other bindings see of a network of Python, which they keep alive meanwhile.
#pragma once
#include <memory>
#include <string>
#include "network.h"
#include "register.h"
namespace fastrnn {

template <class T>
struct NetworkView {
  const Network<T>* net;
  std::shared_ptr<const PackedWeights> packed;  // of the parameters as they are now
  std::string isa;
  const T* parameters;
};

// Of a NetworkF32 or NetworkF64; py::cast_error for anything else
template <class T> NetworkView<T> view_of(const py::object& network);

}  // namespace fastrnn
