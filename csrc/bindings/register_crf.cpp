// SPDX-License-Identifier: MIT
// Linear-chain CRFs on arrays (T,B,K) with rows of their own, tags and lengths as int64.
#include "crf.h"
#include "dispatch.h"
#include "register.h"
namespace fastrnn {
namespace {
template <class T>
const CrfKernels<T>& kernels() {
  static const CrfKernels<T>& all = models_of<T>(find_target("")).crf;
  return all;
}

// What the scores and the batch say; results are still to be set
template <class T>
CrfArgs<T> arguments(const py::array& z, const py::array& lengths, const py::array& start, const py::array& transition,
                     const py::array& end, py::array& value) {
  require(z.ndim() == 3 && z.shape(2) > 0, "z is not (T,B,K)");
  CrfArgs<T> args{};
  args.steps = z.shape(0), args.B = z.shape(1), args.K = z.shape(2);
  args.z = rows<T>(z, args.K, "z has no dense rows of the type of the other scores");
  args.start = dense<T>(start, args.K, "start is not (K,)");
  args.transition = dense<T>(transition, args.K * args.K, "transition is not (K,K)");
  args.end = dense<T>(end, args.K, "end is not (K,)");
  args.lengths = dense<Index>(lengths, args.B, "lengths is not int64 (B,)");
  for (Index b = 0; b < args.B; ++b)
    require(args.lengths[b] >= 0 && args.lengths[b] <= args.steps, "length out of range");
  args.value = dense<double>(value, args.B, "value is not float64 (B,)");
  return args;
}

template <class T>
void values(const py::array& z, const py::array& lengths, const py::object& tags, const py::array& start,
            const py::array& transition, const py::array& end, py::array value, const py::object& dz,
            const py::object& d_transition, double scale) {
  CrfArgs<T> args = arguments<T>(z, lengths, start, transition, end, value);
  args.scale = T(scale);
  py::array given_tags, given_dz, given_pairs;
  T* pairs = nullptr;
  if (!tags.is_none()) {
    given_tags = py::cast<py::array>(tags);
    const py::array& read_only = given_tags;
    args.tags = dense<Index>(read_only, args.steps * args.B, "tags is not int64 (T,B)");
    for (Index b = 0; b < args.B; ++b)
      for (Index t = 0; t < args.lengths[b]; ++t) {
        const Index tag = args.tags[t * args.B + b];
        require(tag >= 0 && tag < args.K, "tag out of range");
      }
  }
  if (!dz.is_none()) {
    given_dz = py::cast<py::array>(dz);
    require(given_dz.ndim() == 3 && given_dz.shape(0) == args.steps && given_dz.shape(1) == args.B, "dz is not like z");
    args.dz = rows<T>(given_dz, args.K, "dz is not like z");
  }
  if (!d_transition.is_none()) {
    require(args.dz.p && args.tags, "the gradient to transition goes with dz and tags");
    given_pairs = py::cast<py::array>(d_transition);
    pairs = dense<T>(given_pairs, args.K * args.K, "d_transition is not like transition");
  }
  const py::gil_scoped_release release;
  crf_values<T>(kernels<T>(), args, pairs);
}

void crf_values_of(const py::array& z, const py::array& lengths, const py::object& tags, const py::array& start,
                   const py::array& transition, const py::array& end, py::array value, const py::object& dz,
                   const py::object& d_transition, double scale) {
  const bool single = py::isinstance<py::array_t<float>>(z);
  (single ? values<float> : values<double>)(z, lengths, tags, start, transition, end, value, dz, d_transition, scale);
}

template <class T>
void viterbi(const py::array& z, const py::array& lengths, const py::array& start, const py::array& transition,
             const py::array& end, py::array path, py::array value) {
  CrfArgs<T> args = arguments<T>(z, lengths, start, transition, end, value);
  args.path = dense<Index>(path, args.steps * args.B, "path is not int64 (T,B)");
  const py::gil_scoped_release release;
  crf_viterbi<T>(kernels<T>(), args);
}

void crf_viterbi_of(const py::array& z, const py::array& lengths, const py::array& start, const py::array& transition,
                    const py::array& end, py::array path, py::array value) {
  const bool single = py::isinstance<py::array_t<float>>(z);
  (single ? viterbi<float> : viterbi<double>)(z, lengths, start, transition, end, path, value);
}
}  // namespace

void register_crf(py::module_& m) {
  m.def("crf_values", crf_values_of, py::arg("z"), py::arg("lengths"), py::arg("tags"), py::arg("start"),
        py::arg("transition"), py::arg("end"), py::arg("value"), py::arg("dz"), py::arg("d_transition"),
        py::arg("scale"));
  m.def("crf_viterbi", crf_viterbi_of, py::arg("z"), py::arg("lengths"), py::arg("start"), py::arg("transition"),
        py::arg("end"), py::arg("path"), py::arg("value"));
}
}  // namespace fastrnn
