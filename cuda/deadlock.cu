// SPDX-License-Identifier: MIT
#include "deadlock.h"
#include <map>
#include <mutex>
#include "status.h"
namespace fastrnn {
namespace {
std::mutex mutex;
std::map<int, unsigned*> words;  // by device; they live as long as the process

unsigned* find_word(int device) {
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = words.find(device);
  return found == words.end() ? nullptr : found->second;
}
}  // namespace

Status deadlock_word(unsigned** word) {
  int device;
  FR_TRY(cudaGetDevice(&device));
  const std::lock_guard<std::mutex> lock(mutex);
  unsigned*& found = words[device];
  if (!found) {
    void* memory;
    FR_TRY(cudaMalloc(&memory, sizeof(unsigned)));
    FR_TRY(cudaMemset(memory, 0, sizeof(unsigned)));
    FR_TRY(cudaDeviceSynchronize());  // streams that do not wait for the default one use it next
    found = static_cast<unsigned*>(memory);
  }
  *word = found;
  return 0;
}

Status synchronize_and_look(cudaStream_t stream) {
  int device;
  FR_TRY(cudaGetDevice(&device));
  unsigned* const word = find_word(device);
  unsigned seen = 0;
  if (word) FR_TRY(cudaMemcpyAsync(&seen, word, sizeof seen, cudaMemcpyDeviceToHost, stream));
  FR_TRY(cudaStreamSynchronize(stream));
  if (!seen) return 0;
  FR_TRY(cudaMemsetAsync(word, 0, sizeof seen, stream));
  FR_TRY(cudaStreamSynchronize(stream));
  return kDeadlock;
}
}  // namespace fastrnn
