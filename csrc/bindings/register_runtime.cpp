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
}  // namespace

void register_runtime(py::module_& m) {
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
  m.def("force_split", force, py::arg("split"), "For tests: None, 'batch', 'units' or 'alone' (units, then one thread), whatever the size of a call.");
  m.def("release_memory", release_cached_memory, "Gives buffers that wait to be used again back to the system.");
}
}  // namespace fastrnn
