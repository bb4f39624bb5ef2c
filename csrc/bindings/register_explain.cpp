// SPDX-License-Identifier: MIT
#include "cpu.h"
#include "dispatch.h"
#include "explain.h"
#include "split.h"
namespace fastrnn {
namespace {
const char* word_of(SplitReason reason) {
  switch (reason) {
    case SplitReason::kForced:
      return "forced";
    case SplitReason::kOneAllowed:
      return "one allowed";
    case SplitReason::kLittleWork:
      return "little work";
    case SplitReason::kRows:
      return "rows";
    case SplitReason::kUnits:
      return "units";
    case SplitReason::kFewRows:
      return "few rows";
    default:
      return "one row";
  }
}

py::object time_of(double microseconds) { return microseconds > 0 ? py::cast(microseconds) : py::none(); }

py::dict targets() {
  py::dict all;
  for (const BuiltTarget& target : built_targets()) all[target.name.c_str()] = target.supported;
  return all;
}
}  // namespace

template <class T>
py::dict explain_part(const Network<T>& net, const Batch& batch, size_t part, bool backward) {
  require(part < net.parts().size(), "no such part");
  const Kernel<T>& kernel = net.kernel();
  const int passes = backward ? 3 : 1;
  const auto choose = [&](Index inputs, int available) {
    return choose_split(net.dims(batch, inputs), kernel.gates, passes, available, kernel.splits_units);
  };
  // A call leases the threads of its widest part, and divides each part among them
  const Split leased = choose(net.widest_input(), thread_count());
  const Split split = leased.threads > 1 ? choose(net.parts()[part].inputs, leased.threads) : leased;
  return py::dict(py::arg("threads") = split.threads, py::arg("units") = split.units,
                  py::arg("reason") = word_of(split.reason));
}

template <class T>
py::dict explain_part(const DeviceNetwork<T>& net, int device, const Batch& batch, size_t part, bool backward,
                      bool control) {
  require(part < net.parts().size(), "no such part");
  const DeviceSession session(device);
  PlanReport report = {};
  session.check(net.kernel().explain(net.dims(batch, net.parts()[part].inputs), backward, control, &report), "explain");
  return py::dict(py::arg("engine") = report.engine, py::arg("why_not") = report.why_not,
                  py::arg("microseconds") = time_of(report.microseconds),
                  py::arg("other_microseconds") = time_of(report.other_microseconds), py::arg("limit") = report.limit,
                  py::arg("blocks") = report.blocks, py::arg("groups") = report.groups);
}

template py::dict explain_part(const Network<float>&, const Batch&, size_t, bool);
template py::dict explain_part(const Network<double>&, const Batch&, size_t, bool);
template py::dict explain_part(const DeviceNetwork<float>&, int, const Batch&, size_t, bool, bool);
template py::dict explain_part(const DeviceNetwork<double>&, int, const Batch&, size_t, bool, bool);

void register_explain(py::module_& m) {
  m.def("targets", targets, "All targets that were built, best first, and whether this processor supports them.");
  m.attr("least_work_of_threads") = kLeastWork;
  m.def("has_bfloat16", cpu_has_avx512_bf16, "Whether this processor multiplies bfloat16 (AVX512_BF16).");
}
}  // namespace fastrnn
