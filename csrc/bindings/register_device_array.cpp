// SPDX-License-Identifier: MIT
// fastrnn.cuda.Array, and what belongs to no array: which devices there are, the stream of a thread, waiting.
#include <algorithm>
#include "device_array.h"
namespace fastrnn {
py::dtype dtype_of(Dtype dtype) { return py::dtype(std::string(1, dtype.kind) + std::to_string(dtype.size)); }

Dtype read_dtype(const py::dtype& dtype) {
  const char kind = dtype.kind(), order = dtype.byteorder();
  if (!std::strchr("fiub", kind) || order == '>' || dtype.itemsize() > 8)
    throw py::type_error("arrays on a GPU are of floats, integers or bools, not of " +
                         py::cast<std::string>(py::str(dtype)));
  return {kind, int(dtype.itemsize())};
}

Span span_of(const DeviceArray& array) {
  if (array.size() == 0) return {array.data, 0};
  Index low = 0, high = array.dtype.size;
  for (size_t axis = 0; axis < array.shape.size(); ++axis) {
    const Index reach = (array.shape[axis] - 1) * array.strides[axis];
    (reach < 0 ? low : high) += reach;
  }
  return {array.data + low, size_t(high - low)};
}

DeviceArray clone(const DeviceSession& session, const DeviceArray& array) {
  const Span from = span_of(array);
  DeviceArray copy = array;
  copy.memory = std::make_shared<DeviceMemory>(session, from.bytes);
  copy.data = copy.memory->data() + (array.data - from.begin);
  array.memory->order().read(session);
  session.copy(static_cast<const char*>(from.begin), Index(from.bytes), copy.memory->data());
  array.memory->end_of_call(session);
  return copy;
}

namespace {
// Waits for the copy
py::array to_numpy(const DeviceArray& array) {
  const Span from = span_of(array);
  py::array_t<char> bytes{Index(from.bytes)};
  char* const to = bytes.mutable_data();
  {
    const py::gil_scoped_release release;
    const DeviceCall call(array.memory->device());
    const DeviceSession& session = call.session();
    array.memory->order().read(session);
    session.copy(static_cast<const char*>(from.begin), Index(from.bytes), to);
    array.memory->end_of_call(session);
    session.synchronize("copying an array to the host");
  }
  release_owners();
  const py::array view(dtype_of(array.dtype), array.shape, array.strides, to + (array.data - from.begin), bytes);
  return array.dense() ? view : py::array(view.attr("copy")());
}

py::object to_array(const DeviceArray& array, const py::object& dtype, const py::object& copy) {
  if (!copy.is_none() && !py::cast<bool>(copy))
    throw py::value_error("an array on a GPU is copied to the host, but copy is False");
  const py::object found = to_numpy(array);
  return dtype.is_none() ? found : found.attr("astype")(dtype, py::arg("copy") = false);
}

// A copy of a C-contiguous array of NumPy, which may be changed afterwards
DeviceArray from_numpy(const py::array& given, int device) {
  require(given.flags() & py::array::c_style, "the array is not C-contiguous");
  const Dtype dtype = read_dtype(given.dtype());
  const std::vector<Index> shape(given.shape(), given.shape() + given.ndim());
  const auto* const from = static_cast<const char*>(given.data());
  const py::gil_scoped_release release;
  const DeviceSession session(device);
  DeviceArray array = new_array(session, dtype, shape);
  session.copy(from, Index(given.nbytes()), array.data);
  session.synchronize("copying an array to the device");
  return array;
}

// The same memory in another C-contiguous shape, from an element on
DeviceArray view(const DeviceArray& array, const std::vector<Index>& shape, Index first) {
  DeviceArray part = array;
  part.shape = shape;
  part.strides = dense_strides(shape, array.dtype.size);
  part.data += first * array.dtype.size;
  require(array.dense() && first >= 0 && first + part.size() <= array.size(), "a view is not within its array");
  return part;
}

DeviceArray swapped(const DeviceArray& array, size_t a, size_t b) {
  DeviceArray turned = array;
  require(std::max(a, b) < array.shape.size(), "no such axis");
  std::swap(turned.shape[a], turned.shape[b]);
  std::swap(turned.strides[a], turned.strides[b]);
  return turned;
}

// With an axis of extent 1 in front of an axis
DeviceArray expanded(const DeviceArray& array, size_t axis) {
  DeviceArray wider = array;
  require(axis <= array.shape.size(), "no such axis");
  wider.shape.insert(wider.shape.begin() + Index(axis), 1);
  wider.strides.insert(wider.strides.begin() + Index(axis), array.dtype.size);
  return wider;
}

std::string device_name(const DeviceArray& array) { return "cuda:" + std::to_string(array.memory->device()); }

std::string describe(const DeviceArray& array) {
  return "fastrnn.cuda.Array(shape=" + py::cast<std::string>(py::repr(py::tuple(py::cast(array.shape)))) +
         ", dtype=" + py::cast<std::string>(py::str(dtype_of(array.dtype))) + ", device='" + device_name(array) + "')";
}

py::object set_stream(const py::object& stream) {
  std::optional<Stream> chosen;
  if (!stream.is_none()) chosen = reinterpret_cast<Stream>(py::cast<std::uintptr_t>(stream));
  const std::optional<Stream> before = choose_stream(chosen);
  return before ? py::object(py::int_(reinterpret_cast<std::uintptr_t>(*before))) : py::object(py::none());
}

void synchronize(int device) {
  {
    const py::gil_scoped_release release;
    const DeviceSession session(device);
    session.check(session.library().synchronize_device(), "work of the device");
    session.synchronize("work of the device");  // which looks for what persistent kernels reported
  }
  release_owners();
}

py::list devices() {
  const DeviceLibrary& library = device_library();
  int count = 0;
  if (const Status status = library.count(&count)) throw DeviceError(library.describe(status));
  py::list all;
  for (int device = 0; device < count; ++device) {
    DeviceProperties found;
    if (const Status status = library.properties(device, &found)) throw DeviceError(library.describe(status));
    all.append(py::dict(py::arg("name") = found.name,
                        py::arg("compute_capability") = py::make_tuple(found.major, found.minor),
                        py::arg("multiprocessors") = found.multiprocessors, py::arg("memory") = found.memory));
  }
  return all;
}
int device_of(std::uintptr_t address) {
  int device = -1;
  const DeviceLibrary& library = device_library();
  if (const Status status = library.device_of(reinterpret_cast<const void*>(address), &device))
    throw DeviceError(library.describe(status));
  return device;
}
}  // namespace

void register_device_array(py::module_& m) {
  py::class_<DeviceArray> array(m, "Array",
                                R"(An array in the memory of a GPU, as calls on such arrays return it.

It is read by NumPy as a copy, and without one by other libraries: it has __dlpack__ and __cuda_array_interface__.
Results that it stands for may still be on their way; whoever reads it that way comes after them, on the device.)");
  array.attr("__module__") = "fastrnn.cuda";
  const auto sizes = [](const std::vector<Index>& values) { return py::tuple(py::cast(values)); };
  array.def_property_readonly("shape", [=](const DeviceArray& a) { return sizes(a.shape); })
      .def_property_readonly(
          "strides", [=](const DeviceArray& a) { return sizes(a.strides); }, "In bytes.")
      .def_property_readonly(
          "dtype", [](const DeviceArray& a) { return dtype_of(a.dtype); }, "As NumPy has it.")
      .def_property_readonly("ndim", [](const DeviceArray& a) { return a.shape.size(); })
      .def_property_readonly("size", &DeviceArray::size)
      .def_property_readonly("nbytes", [](const DeviceArray& a) { return a.size() * a.dtype.size; })
      .def_property_readonly("device", device_name, "'cuda:0', 'cuda:1', ...")
      .def("numpy", to_numpy, "A new array of NumPy with what this one holds; waits for it.")
      .def("__array__", to_array, py::arg("dtype") = py::none(), py::arg("copy") = py::none())
      .def("__dlpack__", to_dlpack, py::kw_only(), py::arg("stream") = py::none(), py::arg("max_version") = py::none(),
           py::arg("dl_device") = py::none(), py::arg("copy") = py::none())
      .def("__dlpack_device__", [](const DeviceArray& a) { return py::make_tuple(2, a.memory->device()); })
      .def_property_readonly("__cuda_array_interface__", to_interface)
      .def("__repr__", describe)
      .def_property_readonly("_readonly", [](const DeviceArray& a) { return a.readonly; })
      .def_property_readonly("_dense", &DeviceArray::dense)
      .def_property_readonly("_address", [](const DeviceArray& a) { return reinterpret_cast<std::uintptr_t>(a.data); })
      .def("_view", view, py::arg("shape"), py::arg("first") = 0)
      .def("_expanded", expanded, py::arg("axis"))
      .def("_swapped", swapped, py::arg("a"), py::arg("b"));
  py::register_exception<DeviceError>(m, "DeviceError", PyExc_RuntimeError);
  m.def("why_no_device", [] { return why_no_device(); }, "Why kernels of CUDA cannot run here; '' where they can.");
  m.def("devices", devices, "A dict of name, compute_capability, multiprocessors, memory for each device.");
  m.def("import_array", import_array, py::arg("given"), py::arg("device"));
  m.def("copy_to_device", from_numpy, py::arg("given"), py::arg("device"));
  m.def("set_stream", set_stream, py::arg("stream"), "A handle or None; returns the one before.");
  m.def("synchronize", synchronize, py::arg("device"));
  m.def("device_of", device_of, py::arg("address"), "-1 where it is no memory of a device.");
}
}  // namespace fastrnn
