// SPDX-License-Identifier: MIT
// Layers that read tokens.
#include "network_arguments.h"
#include "network_view.h"
#include "register.h"
#include "token_rows.h"
namespace fastrnn {
namespace {
template <class T>
py::tuple run(const py::object& network, const py::array& table, const py::array& ids, const py::object& lengths,
              py::array& y) {
  const NetworkView<T> view = view_of<T>(network);
  const Network<T>& net = *view.net;
  const Index I = net.shape().I, T_ = ids.shape(0), B = ids.shape(1), vocabulary = table.shape(0);
  require(net.kernel().begin_rows && table.shape(1) == I, "the layer does not read rows of the table");
  const T* const vectors = dense<T>(table, vocabulary * I, "the table is not dense");
  const Index* const tokens = dense<Index>(ids, T_ * B, "ids are not int64");
  for (Index k = 0; k < T_ * B; ++k) require(tokens[k] >= 0 && tokens[k] < vocabulary, "an id is no row of the table");
  require(y.ndim() == 3 && y.shape(0) == T_ && y.shape(1) == B, "y does not match ids");
  const Rows<T> y_rows = rows<T>(y, net.outputs(), "y is not (T,B,D*H) with contiguous rows");
  const Batch batch = read_batch(T_, B, lengths, py::none());
  const T* const s0[kMaxState] = {};
  T* sT[kMaxState];
  const py::tuple final_states = new_states(net, B, sT);
  {
    const py::gil_scoped_release release;
    std::vector<TokenRows<T>> products;
    std::vector<const T*> begun[2];
    for (size_t part = 0; part < net.parts().size() && net.parts()[part].layer == 0; ++part) {
      begun[part].resize(size_t(T_ * B));
      products.emplace_back(net, *view.packed, part, vectors, vocabulary, I);
      products.back().find(tokens, T_ * B, begun[part].data());
    }
    net.forward(batch, *view.packed, {}, s0, y_rows, sT, nullptr, {}, {{begun[0].data(), begun[1].data()}, nullptr, I});
  }
  return final_states;
}

// Inference of the rows `ids` (T,B) of a table (V,I), none of which is multiplied twice, by a network whose kernel begins
// rows. lengths (B) int64 or None, y (T,B,D*H) as in Network.forward. Returns the final states.
py::tuple forward_ids(const py::object& network, const py::array& table, const py::array& ids,
                      const py::object& lengths, py::array y) {
  require(table.ndim() == 2 && ids.ndim() == 2, "table and ids are not (V,I) and (T,B)");
  if (py::isinstance<py::array_t<float>>(table)) return run<float>(network, table, ids, lengths, y);
  return run<double>(network, table, ids, lengths, y);
}
}  // namespace

void register_tokens(py::module_& m) {
  m.def("forward_ids", forward_ids, py::arg("network"), py::arg("table"), py::arg("ids"), py::arg("lengths"),
        py::arg("y"));
}
}  // namespace fastrnn
