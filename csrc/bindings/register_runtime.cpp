// SPDX-License-Identifier: MIT
// Targets, cells, threads.
#include "dispatch.h"
#include "memory.h"
#include "register.h"
#include "split.h"
#include "threads.h"
namespace fastrnn {
namespace {
py::dict cells() {
  py::dict all;
  const Kernels<double> kernels = find_target("reference").f64;
  for (int k = 0; k < kernels.count; ++k) {
    const Kernel<double>& cell = kernels.cells[k];
    all[cell.cell] = py::dict(py::arg("gates") = cell.gates, py::arg("states") = cell.states,
                              py::arg("unit_parameters") = cell.unit_parameters);
  }
  return all;
}

void force(const py::object& split) {
  if (split.is_none()) return force_split(ForcedSplit::kAutomatic);
  const std::string name = py::cast<std::string>(split);
  require(name == "batch" || name == "units" || name == "alone", "split is not None, 'batch', 'units' or 'alone'");
  force_split(name == "batch" ? ForcedSplit::kBatch : name == "units" ? ForcedSplit::kUnits : ForcedSplit::kAlone);
}
template <class T>
py::array empty_of(const std::vector<Index>& shape) {
  Index count = 1;
  for (Index n : shape) count *= n;
  Buffer buffer = buffer_of<T>(count);
  T* const data = buffer.as<T>();
  return py::array_t<T>(shape, data, py::cast(std::make_unique<Memory>(Memory{std::move(buffer)})));
}
}  // namespace

void register_runtime(py::module_& m) {
  py::class_<Memory>(m, "Memory");
  m.def(
      "empty",
      [](const std::vector<Index>& shape, bool wide) {
        return wide ? empty_of<double>(shape) : empty_of<float>(shape);
      },
      py::arg("shape"), py::arg("wide"), "An array of float32, or if wide float64, on memory that comes back.");
#if defined(__clang__)
  m.attr("compiler") = "clang " __clang_version__;
#else
  m.attr("compiler") = "g++ " __VERSION__;
#endif
  m.def("cells", cells, "Cells by name, with their numbers of gates, states and parameters of single units.");
  m.def("available", available_targets, "Targets that this processor supports, best first.");
  m.def(
      "find_target", [](const std::string& isa) { return find_target(isa).isa; }, py::arg("isa"),
      "The name of a target; of '' that of FASTRNN_ISA or the best. ValueError names the available ones.");
  m.def("get_num_threads", thread_count);
  m.def("set_num_threads", set_thread_count, py::arg("n"));
  m.def("force_split", force, py::arg("split"),
        "For tests: None, 'batch', 'units' or 'alone' (units, then one thread), whatever the size of a call.");
  m.def("release_memory", release_cached_memory, "Gives buffers that wait to be used again back to the system.");
}
}  // namespace fastrnn
