// SPDX-License-Identifier: MIT
// Optimizer updates, sums of squares and embedding rows on dense arrays of one type.
#include <cmath>
#include "cpu.h"
#include "dispatch.h"
#include "models/linear_map.h"
#include "register.h"
#include "threads.h"
namespace fastrnn {
namespace {
constexpr double kManyProducts = 4e6;  // multiplications that are worth waking a thread, ~0.1 ms

template <class T>
const ModelKernels<T>& kernels() {
  static const ModelKernels<T>& all = models_of<T>(find_target(""));
  return all;
}

// Calls f<T>() for the element type of the array
template <class F>
auto by_type(const py::array& a, const F& f) {
  if (py::isinstance<py::array_t<float>>(a)) return f(float());
  require(py::isinstance<py::array_t<double>>(a), "array is neither float32 nor float64");
  return f(double());
}

void adam(py::array parameter, const py::array& gradient, py::array m, py::array v, int step, double lr, double beta1,
          double beta2, double eps, double weight_decay, bool decoupled, double scale) {
  by_type(parameter, [&](auto type) {
    using T = decltype(type);
    const Index n = parameter.size();
    const AdamArgs<T> args{dense<T>(parameter, n, "parameter is not dense"),
                           dense<T>(gradient, n, "gradient does not match parameter"),
                           dense<T>(m, n, "m does not match parameter"),
                           dense<T>(v, n, "v does not match parameter"),
                           n,
                           T(lr),
                           T(beta1),
                           T(beta2),
                           T(eps),
                           T(weight_decay),
                           T(scale),
                           T(1 - std::pow(beta1, step)),
                           T(std::sqrt(1 - std::pow(beta2, step))),
                           decoupled};
    const py::gil_scoped_release release;
    const FlushDenormals flush;
    kernels<T>().adam(args);
  });
}

void sgd(py::array parameter, const py::array& gradient, const py::object& momentum_buffer, bool first, double lr,
         double momentum, bool nesterov, double weight_decay, double scale) {
  by_type(parameter, [&](auto type) {
    using T = decltype(type);
    const Index n = parameter.size();
    py::array buffer;
    if (!momentum_buffer.is_none()) buffer = py::cast<py::array>(momentum_buffer);
    const SgdArgs<T> args{
        dense<T>(parameter, n, "parameter is not dense"),
        dense<T>(gradient, n, "gradient does not match parameter"),
        momentum_buffer.is_none() ? nullptr : dense<T>(buffer, n, "momentum_buffer does not match parameter"),
        n,
        T(lr),
        T(momentum),
        T(weight_decay),
        T(scale),
        first,
        nesterov};
    const py::gil_scoped_release release;
    const FlushDenormals flush;
    kernels<T>().sgd(args);
  });
}

void rmsprop(py::array parameter, const py::array& gradient, py::array square_average,
             const py::object& gradient_average, const py::object& momentum_buffer, double lr, double alpha, double eps,
             double weight_decay, double momentum, double scale) {
  by_type(parameter, [&](auto type) {
    using T = decltype(type);
    const Index n = parameter.size();
    const auto optional = [&](const py::object& given, const char* what) {
      if (given.is_none()) return static_cast<T*>(nullptr);
      py::array array = py::cast<py::array>(given);
      return dense<T>(array, n, what);
    };
    const RmspropArgs<T> args{dense<T>(parameter, n, "parameter is not dense"),
                              dense<T>(gradient, n, "gradient does not match parameter"),
                              dense<T>(square_average, n, "square_avg does not match parameter"),
                              optional(gradient_average, "grad_avg does not match parameter"),
                              optional(momentum_buffer, "momentum_buffer does not match parameter"),
                              n,
                              T(lr),
                              T(alpha),
                              T(eps),
                              T(weight_decay),
                              T(momentum),
                              T(scale)};
    const py::gil_scoped_release release;
    const FlushDenormals flush;
    kernels<T>().rmsprop(args);
  });
}

double square_sum(const py::array& a) {
  return by_type(a, [&](auto type) {
    using T = decltype(type);
    const T* data = dense<T>(a, a.size(), "array is not dense");
    const py::gil_scoped_release release;
    return kernels<T>().square_sum(data, a.size());
  });
}

const Index* checked_ids(const py::array& ids, const py::array& table, Index width) {
  require(table.ndim() == 2 && table.shape(1) == width, "table and rows differ in width");
  const Index* data = dense<Index>(ids, ids.size(), "ids are not int64");
  for (Index k = 0; k < ids.size(); ++k) require(data[k] >= 0 && data[k] < table.shape(0), "id out of range");
  return data;
}

// out (N,H) = f(x (N,K) W^T + bias), W (H,K), or (K,H) where transposed
void linear(const py::array& x, const py::array& weight, bool transposed, const py::object& bias, bool tanh,
            py::array out) {
  by_type(x, [&](auto type) {
    using T = decltype(type);
    require(x.ndim() == 2 && weight.ndim() == 2 && out.ndim() == 2, "x, weight and out are not matrices");
    const Index N = x.shape(0), K = x.shape(1), H = out.shape(1);
    require(out.shape(0) == N && weight.shape(transposed) == H && weight.shape(!transposed) == K,
            "weight does not match x and out");
    py::array given_bias;
    if (!bias.is_none()) given_bias = py::cast<py::array>(bias);
    const LinearWeights<T> weights{dense<T>(weight, H * K, "weight does not match x"),
                                   bias.is_none() ? nullptr : dense<T>(std::as_const(given_bias), H, "bias is not (H)"),
                                   H,
                                   K,
                                   weight.shape(1),
                                   transposed};
    const T* const from = dense<T>(x, N * K, "x is not dense");
    T* const to = dense<T>(out, N * H, "out does not match x");
    const py::gil_scoped_release release;
    if (N <= kFewRows && !transposed)
      return kernels<T>().linear_unpacked(weights, {nullptr, N, H, K, from, K, to, H, false, tanh});
    const LinearMap<T> map(kernels<T>(), weights);
    ThreadLease lease(double(N) * double(H) * double(K) > kManyProducts ? thread_count() : 1);
    lease.run(lease.size(), false, 0, [&](const Team& team) {
      const Index begin = N * team.rank / team.size, end = N * (team.rank + 1) / team.size;
      map.run(from + begin * K, K, to + begin * H, H, end - begin, tanh);
    });
  });
}

void embedding_gather(const py::array& table, const py::array& ids, py::array out) {
  by_type(table, [&](auto type) {
    using T = decltype(type);
    require(out.ndim() == 2 && out.shape(0) == ids.size(), "out has not one row an id");
    const Index width = out.shape(1), *at = checked_ids(ids, table, width);
    const T* from = dense<T>(table, table.size(), "table is not dense");
    kernels<T>().gather(from, width, at, ids.size(), dense<T>(out, out.size(), "out does not match table"));
  });
}

void embedding_scatter_add(py::array table, const py::array& ids, const py::array& rows_of_ids) {
  by_type(table, [&](auto type) {
    using T = decltype(type);
    require(rows_of_ids.ndim() == 2 && rows_of_ids.shape(0) == ids.size(), "dout has not one row an id");
    const Index width = rows_of_ids.shape(1), *at = checked_ids(ids, table, width);
    const T* from = dense<T>(rows_of_ids, rows_of_ids.size(), "dout does not match dtable");
    kernels<T>().scatter_add(from, width, at, ids.size(), dense<T>(table, table.size(), "dtable is not dense"));
  });
}
}  // namespace

void register_pointwise(py::module_& m) {
  m.def("adam", adam, py::arg("param"), py::arg("grad"), py::arg("m"), py::arg("v"), py::arg("step"), py::arg("lr"),
        py::arg("beta1"), py::arg("beta2"), py::arg("eps"), py::arg("weight_decay"), py::arg("decoupled"),
        py::arg("scale"));
  m.def("sgd", sgd, py::arg("param"), py::arg("grad"), py::arg("momentum_buffer"), py::arg("first"), py::arg("lr"),
        py::arg("momentum"), py::arg("nesterov"), py::arg("weight_decay"), py::arg("scale"));
  m.def("rmsprop", rmsprop, py::arg("param"), py::arg("grad"), py::arg("square_avg"), py::arg("grad_avg"),
        py::arg("momentum_buffer"), py::arg("lr"), py::arg("alpha"), py::arg("eps"), py::arg("weight_decay"),
        py::arg("momentum"), py::arg("scale"));
  m.def("square_sum", square_sum, py::arg("array"));
  m.def("linear", linear, py::arg("x"), py::arg("weight"), py::arg("transposed"), py::arg("bias"), py::arg("tanh"),
        py::arg("out"));
  m.def("embedding_gather", embedding_gather, py::arg("table"), py::arg("ids"), py::arg("out"));
  m.def("embedding_scatter_add", embedding_scatter_add, py::arg("dtable"), py::arg("ids"), py::arg("dout"));
}
}  // namespace fastrnn
