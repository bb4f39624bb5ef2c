// SPDX-License-Identifier: MIT
#include "register.h"

PYBIND11_MODULE(_core, m) {
  m.doc() = "Kernels of fastrnn. Not public: use the package fastrnn, which checks what is passed.";
  fastrnn::register_runtime(m);
  fastrnn::register_network(m);
  fastrnn::register_device(m);
  fastrnn::register_device_array(m);
  fastrnn::register_explain(m);
  fastrnn::register_attention(m);
  fastrnn::register_pointwise(m);
  fastrnn::register_decode(m);
  fastrnn::register_crf(m);
}
