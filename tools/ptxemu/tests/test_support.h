// SPDX-License-Identifier: MIT
// Shared by the tests: checks, device arrays, random numbers.

#ifndef PTXEMU_TESTS_TEST_SUPPORT_H_
#define PTXEMU_TESTS_TEST_SUPPORT_H_

#include <cuda_runtime.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#define CUDA_CHECK(call) ::test::CheckCuda((call), #call, __FILE__, __LINE__)

namespace test {

inline int failures = 0;

inline void CheckCuda(cudaError_t error, const char* call, const char* file, int line) {
  if (error == cudaSuccess) return;
  std::printf("%s:%d: %s: %s\n", file, line, call, cudaGetErrorString(error));
  std::exit(2);
}

// Records the result of a test by its largest error; NaN fails.
inline void ExpectBelow(const char* name, double error, double limit) {
  const bool ok = error <= limit;
  if (!ok) ++failures;
  std::printf("%-32s error %.2e  %s\n", name, error, ok ? "ok" : "FAILED");
}

inline void Expect(const char* name, bool ok) {
  if (!ok) ++failures;
  std::printf("%-32s %s\n", name, ok ? "ok" : "FAILED");
}

// Exit status of the test program.
inline int Finish() {
  std::printf("%s\n", failures == 0 ? "all ok" : "FAILED");
  return failures == 0 ? 0 : 1;
}

// NaN wins over any number.
inline double LargerError(double error, double a, double b) {
  const double difference = std::fabs(a - b);
  return difference <= error ? error : difference;
}

// Array in device memory with the contents of a host vector.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values) : size_(values.size()) {
    CUDA_CHECK(cudaMalloc(&data_, size_ * sizeof(T)));
    CUDA_CHECK(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  explicit DeviceArray(size_t size, T value = T()) : DeviceArray(std::vector<T>(size, value)) {}
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* get() const { return data_; }
  std::vector<T> ToHost() const {
    std::vector<T> values(size_);
    CUDA_CHECK(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  size_t size_;
  T* data_ = nullptr;
};

// Multiples of 1/1000 in [-1, 1], the same in each run.
inline std::vector<float> RandomFloats(size_t count) {
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(std::rand() % 2001 - 1000) / 1000.0f;
  return values;
}

}  // namespace test

#endif  // PTXEMU_TESTS_TEST_SUPPORT_H_
