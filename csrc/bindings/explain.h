// SPDX-License-Identifier: MIT
// How a call of a network would run, one part and pass of it, as fastrnn/explanation.py words it.
#pragma once
#include "device/network.h"
#include "network.h"
#include "register.h"
namespace fastrnn {

// {"threads", "units", "reason"}, where the pool of threads is free
template <class T> py::dict explain_part(const Network<T>& net, const Batch& batch, size_t part, bool backward);

// The members of PlanReport (device/api.h); times that are not modelled are None. control: as DeviceKernel::explain
template <class T>
py::dict explain_part(const DeviceNetwork<T>& net, int device, const Batch& batch, size_t part, bool backward,
                      bool control);

}  // namespace fastrnn
