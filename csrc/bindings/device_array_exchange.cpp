// SPDX-License-Identifier: MIT
// Arrays of a device from and to other libraries, by DLPack and by __cuda_array_interface__ of version 3.
#include <utility>
#include "device_array.h"
#include "dlpack.h"
namespace fastrnn {
namespace {
Stream stream_of(std::uintptr_t number) { return reinterpret_cast<Stream>(number); }

// 1 and 2 name CUDA's default streams; 0 is not used, as it could be meant for either
std::uintptr_t number_of(Stream stream) { return stream ? reinterpret_cast<std::uintptr_t>(stream) : 1; }

// What holds something of Python alive. Any thread may let go of it, also while Python ends.
template <class Item, class Release>
std::shared_ptr<void> hold(Item* item, Release release) {
  return std::shared_ptr<void>(item, [release](void* p) {
    if (!Py_IsInitialized()) return;
    const py::gil_scoped_acquire acquire;
    release(static_cast<Item*>(p));
  });
}

[[noreturn]] void refuse_buffer(const std::string& why) {
  PyErr_SetString(PyExc_BufferError, why.c_str());
  throw py::error_already_set();
}

// ---------------------------------------------------------------- DLPack, from others

py::object ask_for_capsule(const py::object& given, std::uintptr_t stream) {
  const py::object method = given.attr("__dlpack__");
  try {
    return method(py::arg("stream") = stream, py::arg("max_version") = py::make_tuple(dlpack::kMajor, dlpack::kMinor));
  } catch (py::error_already_set& error) {  // of a producer that is older than versions
    if (!error.matches(PyExc_TypeError)) throw;
  }
  return method(py::arg("stream") = stream);
}

Dtype dtype_of(const dlpack::DataType& type) {
  static constexpr std::pair<uint8_t, char> kinds[] = {
      {dlpack::kInt, 'i'}, {dlpack::kUInt, 'u'}, {dlpack::kFloat, 'f'}, {dlpack::kBool, 'b'}};
  for (const auto& [code, kind] : kinds)
    if (type.code == code && type.lanes == 1 && type.bits % 8 == 0) return {kind, type.bits / 8};
  throw py::type_error("an array of DLPack has the type code " + std::to_string(type.code) + " with " +
                       std::to_string(type.bits) + " bits, which NumPy has not");
}

struct Taken {
  std::shared_ptr<void> owner;
  dlpack::Tensor tensor;
  bool readonly;
};

// Takes the tensor out of its capsule, which is renamed, so that nobody else takes it
template <class Managed>
Taken take(const py::object& capsule) {
  auto* const managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), Managed::kName));
  if (!managed) throw py::error_already_set();
  std::shared_ptr<void> owner = hold(managed, [](Managed* m) {
    if (m->deleter) m->deleter(m);
  });
  PyCapsule_SetName(capsule.ptr(), Managed::kUsed);
  bool readonly = false;
  if constexpr (std::is_same_v<Managed, dlpack::ManagedVersioned>) {
    if (managed->version.major != dlpack::kMajor)
      refuse_buffer("an array comes in version " + std::to_string(managed->version.major) + " of DLPack, not 1");
    readonly = managed->flags & dlpack::kReadOnly;
  }
  return {std::move(owner), managed->tensor, readonly};
}

DeviceArray from_dlpack(const py::object& given, const DeviceCall& call) {
  const DeviceSession& session = call.session();
  const py::object capsule = ask_for_capsule(given, number_of(call.outer()));
  session.follow(session.stream(), call.outer());
  const Taken taken = PyCapsule_IsValid(capsule.ptr(), dlpack::ManagedVersioned::kName)
                          ? take<dlpack::ManagedVersioned>(capsule)
                          : take<dlpack::Managed>(capsule);
  const dlpack::Tensor& tensor = taken.tensor;
  require((tensor.device.type == dlpack::kCuda || tensor.device.type == dlpack::kCudaManaged) &&
              tensor.device.id == session.device(),
          "an array of DLPack is of another device than it said");
  DeviceArray array{nullptr, static_cast<char*>(tensor.data) + tensor.byte_offset, dtype_of(tensor.dtype)};
  array.shape.assign(tensor.shape, tensor.shape + tensor.ndim);
  array.strides = dense_strides(array.shape, array.dtype.size);
  for (int axis = 0; tensor.strides && axis < tensor.ndim; ++axis)
    array.strides[size_t(axis)] = tensor.strides[axis] * array.dtype.size;
  array.readonly = taken.readonly;
  array.memory = std::make_shared<DeviceMemory>(session, taken.owner, std::nullopt);
  return array;
}

// ---------------------------------------------------------------- __cuda_array_interface__, from others

std::optional<Stream> producer_of(const py::dict& told) {
  if (!told.contains("stream") || told["stream"].is_none()) return std::nullopt;
  const auto number = py::cast<std::uintptr_t>(told["stream"]);
  if (number == 0)
    throw py::value_error(
        "the stream of a __cuda_array_interface__ is 0, which is ambiguous: it is 1 "
        "for the legacy default stream, 2 for that of the thread, or a handle");
  return stream_of(number);
}

DeviceArray from_interface(const py::object& given, const DeviceCall& call) {
  const DeviceSession& session = call.session();
  const py::dict told = py::cast<py::dict>(given.attr("__cuda_array_interface__"));
  if (told.contains("mask") && !told["mask"].is_none())
    throw py::type_error("an array of __cuda_array_interface__ has a mask, which is not supported");
  const auto [address, readonly] = py::cast<std::pair<std::uintptr_t, bool>>(told["data"]);
  DeviceArray array{nullptr, reinterpret_cast<char*>(address), read_dtype(py::dtype::from_args(told["typestr"]))};
  array.shape = py::cast<std::vector<Index>>(told["shape"]);
  array.strides = dense_strides(array.shape, array.dtype.size);
  if (told.contains("strides") && !told["strides"].is_none())
    array.strides = py::cast<std::vector<Index>>(told["strides"]);
  require(array.strides.size() == array.shape.size(), "a __cuda_array_interface__ has more strides than axes, or less");
  array.readonly = readonly;
  const std::optional<Stream> producer = producer_of(told);
  if (producer)
    session.check(session.library().follow(session.stream(), *producer), "the stream of a __cuda_array_interface__");
  auto owner = hold(new py::object(given), [](py::object* object) { delete object; });
  array.memory = std::make_shared<DeviceMemory>(session, std::move(owner), producer);
  return array;
}

// ---------------------------------------------------------------- to others

// What a consumer of DLPack has been given, until its deleter is called
template <class Managed>
struct Lent {
  DeviceArray array;
  std::optional<Stream> consumer;
  std::vector<int64_t> shape, strides;
  Managed managed{};
};

template <class Managed>
void take_back(Managed* managed) {
  auto* const lent = static_cast<Lent<Managed>*>(managed->context);
  if (lent->consumer) lent->array.memory->returned_by(*lent->consumer);
  delete lent;
}

template <class Managed>
void destroy_capsule(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, Managed::kName)) return;  // it was taken
  auto* const managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, Managed::kName));
  managed->deleter(managed);
}

dlpack::DataType type_of(Dtype dtype) {
  const uint8_t code = dtype.kind == 'f'   ? dlpack::kFloat
                       : dtype.kind == 'i' ? dlpack::kInt
                       : dtype.kind == 'u' ? dlpack::kUInt
                                           : dlpack::kBool;
  return {code, uint8_t(8 * dtype.size), 1};
}

template <class Managed>
py::capsule lend(const DeviceArray& array, std::optional<Stream> consumer, bool copied) {
  auto lent = std::make_unique<Lent<Managed>>();
  lent->array = array, lent->consumer = consumer;
  lent->shape.assign(array.shape.begin(), array.shape.end());
  for (Index stride : array.strides) lent->strides.push_back(stride / array.dtype.size);
  lent->managed.tensor = {array.data,
                          {dlpack::kCuda, array.memory->device()},
                          int32_t(array.shape.size()),
                          type_of(array.dtype),
                          lent->shape.data(),
                          lent->strides.data(),
                          0};
  lent->managed.context = lent.get();
  lent->managed.deleter = take_back<Managed>;
  if constexpr (std::is_same_v<Managed, dlpack::ManagedVersioned>) {
    lent->managed.version = {dlpack::kMajor, dlpack::kMinor};
    lent->managed.flags = (array.readonly ? dlpack::kReadOnly : 0) | (copied ? dlpack::kCopied : 0);
  }
  const py::capsule capsule(&lent->managed, Managed::kName, destroy_capsule<Managed>);
  lent.release();
  return capsule;
}

std::optional<Stream> consumer_of(const py::object& stream) {
  if (stream.is_none()) return stream_of(1);  // the legacy default stream, as the protocol says
  const auto number = py::cast<std::intptr_t>(stream);
  if (number == -1) return std::nullopt;  // the consumer orders its work by itself
  if (number <= 0)
    throw py::value_error("stream is " + std::to_string(number) + ", but __dlpack__ takes None, -1 for no order, 1 " +
                          "for the legacy default stream, 2 for that of the thread, or a handle");
  return stream_of(std::uintptr_t(number));
}
}  // namespace

DeviceArray import_array(const py::object& given, int device) {
  if (py::isinstance<DeviceArray>(given)) return py::cast<const DeviceArray&>(given);
  release_owners();
  const DeviceCall call(device);
  return py::hasattr(given, "__dlpack__") ? from_dlpack(given, call) : from_interface(given, call);
}

py::capsule to_dlpack(const DeviceArray& array, const py::object& stream, const py::object& max_version,
                      const py::object& dl_device, const py::object& copy) {
  const int device = array.memory->device();
  if (!dl_device.is_none() && py::cast<std::pair<int, int>>(dl_device) != std::make_pair(int(dlpack::kCuda), device))
    refuse_buffer("the array is on cuda:" + std::to_string(device) + ", which is dl_device (2, " +
                  std::to_string(device) + "): use numpy() for an array of the host");
  const std::optional<Stream> consumer = consumer_of(stream);
  const bool copied = !copy.is_none() && py::cast<bool>(copy);
  const bool versioned = !max_version.is_none() && py::cast<std::pair<int, int>>(max_version).first >= 1;
  if (array.readonly && !copied && !versioned)
    refuse_buffer("the array cannot be written to, which DLPack says from version 1 on alone");
  const DeviceCall call(device);
  const DeviceSession& session = call.session();
  DeviceArray lent = copied ? clone(session, array) : array;
  if (copied) lent.readonly = false;
  if (consumer) lent.memory->order().publish(session, *consumer);
  return versioned ? lend<dlpack::ManagedVersioned>(lent, consumer, copied)
                   : lend<dlpack::Managed>(lent, consumer, copied);
}

py::dict to_interface(const DeviceArray& array) {
  const DeviceCall call(array.memory->device());
  array.memory->order().publish(call.session(), call.outer());
  py::dict told;
  told["version"] = 3;
  told["shape"] = py::tuple(py::cast(array.shape));
  told["typestr"] = dtype_of(array.dtype).attr("str");
  told["data"] = py::make_tuple(reinterpret_cast<std::uintptr_t>(array.data), array.readonly);
  told["strides"] = array.dense() ? py::object(py::none()) : py::object(py::tuple(py::cast(array.strides)));
  told["stream"] = number_of(call.outer());
  return told;
}
}  // namespace fastrnn
