// SPDX-License-Identifier: MIT
// What other bindings see of a network of Python, which they keep alive meanwhile.
#pragma once
#include <memory>
#include <string>
#include <utility>
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

// lengths (B) int64 or None, reset (T,B) uint8 or None
inline Batch batch_of(Index T, Index B, const py::object& lengths, const py::object& reset) {
  py::array a, b;
  const Index* at = nullptr;
  const unsigned char* cut = nullptr;
  if (!lengths.is_none()) {
    a = py::cast<py::array>(lengths);
    at = dense<Index>(std::as_const(a), B, "lengths are not (B,) of int64");
    for (Index k = 0; k < B; ++k) require(at[k] >= 0 && at[k] <= T, "a length is beyond T");
  }
  if (!reset.is_none()) {
    b = py::cast<py::array>(reset);
    cut = dense<unsigned char>(std::as_const(b), T * B, "reset is not (T,B) of uint8");
  }
  return Batch(T, B, at, cut);
}

// Arrays (parts,B,n), one a state, and where they lie
template <class T>
py::tuple new_states(const Network<T>& net, Index B, T** at) {
  py::tuple all(net.kernel().states);
  for (int q = 0; q < net.kernel().states; ++q) {
    py::array_t<T> a({Index(net.parts().size()), B, net.width(q)});
    at[q] = a.mutable_data();
    all[size_t(q)] = a;
  }
  return all;
}

}  // namespace fastrnn
