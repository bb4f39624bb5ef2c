// SPDX-License-Identifier: MIT
// Arguments that networks of any device are given.
#pragma once
#include <string>
#include <tuple>
#include <vector>
#include "network_layout.h"
#include "register.h"
namespace fastrnn {

inline NetworkShape read_shape(Index input_size, Index hidden_size, Index output_size,
                               const std::vector<int>& directions, int biases, bool learn_state,
                               const std::tuple<double, double, double>& noise) {
  require(!directions.empty() && biases >= 0 && biases <= 2, "no layer, or more than two biases");
  for (int direction : directions) require(direction >= kForward && direction <= kBoth, "no such direction");
  const auto [dropout, zoneout_h, zoneout_c] = noise;
  return {input_size, hidden_size, output_size, directions, biases, learn_state, dropout, {zoneout_h, zoneout_c}};
}

// lengths (B) int64 or None; reset (T,B) uint8 or None
inline Batch read_batch(Index T_, Index B, const py::object& lengths, const py::object& reset) {
  py::array a, b;
  const Index* at = nullptr;
  const unsigned char* cut = nullptr;
  if (!lengths.is_none()) {
    a = py::cast<py::array>(lengths);
    at = dense<Index>(std::as_const(a), B, "lengths are not (B,) of int64");
    for (Index k = 0; k < B; ++k) require(at[k] >= 0 && at[k] <= T_, "a length is beyond T");
  }
  if (!reset.is_none()) {
    b = py::cast<py::array>(reset);
    cut = dense<unsigned char>(std::as_const(b), T_ * B, "reset is not (T,B) of uint8");
  }
  return Batch(T_, B, at, cut);
}

// None, or what a Dropout holds
inline Dropout read_dropout(const py::object& given) {
  if (given.is_none()) return {};
  const auto [outputs, variational, inputs, seed] = py::cast<std::tuple<double, bool, double, uint64_t>>(given);
  return {outputs, variational, inputs, seed, true};
}

inline std::vector<py::tuple> layout_of(const NetworkLayout& net) {
  std::vector<py::tuple> all;
  for (const Parameter& p : net.layout())
    all.push_back(py::make_tuple(
        p.layer, p.direction, p.role,
        p.columns >= 0 ? py::tuple(py::make_tuple(p.rows, p.columns)) : py::tuple(py::make_tuple(p.rows)), p.offset));
  return all;
}

// New arrays (parts,B,n), one a state, and where they lie
template <class T>
py::tuple new_states(const NetworkLayout& net, Index B, T** at) {
  py::tuple all(net.cell().states);
  for (int q = 0; q < net.cell().states; ++q) {
    py::array_t<T> a({Index(net.parts().size()), B, net.width(q)});
    at[q] = a.mutable_data();
    all[size_t(q)] = a;
  }
  return all;
}

// None, or one array (parts,B,n) or None a state
template <class T>
void read_states(const NetworkLayout& net, const py::object& states, Index B, const T** at) {
  const int count = net.cell().states;
  for (int q = 0; q < count; ++q) at[q] = nullptr;
  if (states.is_none()) return;
  const py::sequence all = py::cast<py::sequence>(states);
  require(Index(all.size()) == count, "wrong number of states");
  for (int q = 0; q < count; ++q) {
    if (all[size_t(q)].is_none()) continue;
    const py::array a = py::cast<py::array>(all[size_t(q)]);
    at[q] = dense<T>(a, Index(net.parts().size()) * B * net.width(q), "a state is not (parts,B,H)");
  }
}

// What `backward` of a network is given: dy (T,B,D*H), dx (T,B,I) or None, gradients (flat), norms (parts,T,B,4) of double
// or None, d_constant (B,G*H) where the tape has a constant input, else None. States are left to the caller.
template <class T>
BackwardRequest<T> read_request(const NetworkLayout& net, const Batch& batch, bool has_constant, const py::array& dy,
                                const py::object& dx, py::array& gradients, const py::object& norms,
                                const py::object& d_constant) {
  const auto fits = [&](const py::array& a) { return a.ndim() == 3 && a.shape(0) == batch.T && a.shape(1) == batch.B; };
  require(fits(dy), "dy does not match the tape");
  BackwardRequest<T> request{};
  request.dy = rows<T>(dy, net.outputs(), "dy is not (T,B,D*H) with contiguous rows");
  if (!norms.is_none()) {
    py::array array = py::cast<py::array>(norms);
    request.norms = reinterpret_cast<StepNorms*>(
        dense<double>(array, 4 * Index(net.parts().size()) * batch.T * batch.B, "norms are not (parts,T,B,4)"));
  }
  if (!dx.is_none()) {
    py::array array = py::cast<py::array>(dx);
    require(fits(array), "dx does not match the tape");
    request.dx = rows<T>(array, net.shape().I, "dx is not (T,B,I) with contiguous rows");
    if (batch.T == 0 || batch.B == 0) request.dx.p = nullptr;
  }
  require(d_constant.is_none() != has_constant, "d_constant is for tapes with a constant input");
  if (!d_constant.is_none()) {
    py::array array = py::cast<py::array>(d_constant);
    request.d_constant = dense<T>(array, batch.B * net.cell().gates * net.shape().H, "d_constant is not (B,G*H)");
  }
  request.gradients = dense<T>(gradients, net.parameter_count(), "gradients do not match the parameters");
  return request;
}

}  // namespace fastrnn
