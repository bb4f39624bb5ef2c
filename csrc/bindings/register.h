// SPDX-License-Identifier: MIT
// The parts of the extension module, one file a topic, and how arrays of NumPy become pointers. Arguments are checked
// in Python (fastrnn/_check/); what is checked again here keeps a mistake there from reading foreign memory.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include "api.h"
#include "memory.h"
namespace fastrnn {
namespace py = pybind11;

// What an array stands on that NumPy has not allocated
struct Memory {
  Buffer buffer;
};

void register_runtime(py::module_& m);
void register_attention(py::module_& m);
void register_network(py::module_& m);
void register_pointwise(py::module_& m);
void register_decode(py::module_& m);
void register_crf(py::module_& m);
void register_device(py::module_& m);
void register_device_array(py::module_& m);
void register_explain(py::module_& m);

inline void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(what);
}

template <class T>
bool is_dense(const py::array& a) {
  return py::isinstance<py::array_t<T, py::array::c_style>>(a) && reinterpret_cast<size_t>(a.data()) % alignof(T) == 0;
}

template <class T>
T* dense(py::array& a, Index size, const char* what) {
  require(is_dense<T>(a) && a.size() == size, what);
  return static_cast<T*>(a.mutable_data());
}
template <class T>
const T* dense(const py::array& a, Index size, const char* what) {
  require(is_dense<T>(a) && a.size() == size, what);
  return static_cast<const T*>(a.data());
}

// (T,B,n) with contiguous rows
template <class T>
bool has_rows(const py::array& a, Index n) {
  constexpr Index size = sizeof(T);
  if (!py::isinstance<py::array_t<T>>(a) || a.ndim() != 3 || a.shape(2) != n) return false;
  if (a.size() == 0) return true;  // strides mean nothing
  return (n < 2 || a.strides(2) == size) && a.strides(0) % size == 0 && a.strides(1) % size == 0 &&
         reinterpret_cast<size_t>(a.data()) % alignof(T) == 0;
}
template <class T>
Rows<T> rows(py::array& a, Index n, const char* what) {
  require(has_rows<T>(a, n), what);
  return {static_cast<T*>(a.mutable_data()), a.strides(0) / Index(sizeof(T)), a.strides(1) / Index(sizeof(T))};
}
template <class T>
Rows<const T> rows(const py::array& a, Index n, const char* what) {
  require(has_rows<T>(a, n), what);
  return {static_cast<const T*>(a.data()), a.strides(0) / Index(sizeof(T)), a.strides(1) / Index(sizeof(T))};
}

}  // namespace fastrnn
