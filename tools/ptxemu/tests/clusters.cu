// SPDX-License-Identifier: MIT
// sm_90: clusters with distributed shared memory, mbarrier, cp.async.bulk and st.async.
// "missing_cluster_sync" and "missing_mbarrier_wait" leave out the synchronisation.

#include <cooperative_groups.h>

#include <cstring>

#include "test_support.h"

namespace cg = cooperative_groups;

constexpr int kCluster = 4, kThreads = 64;

__device__ unsigned SharedAddress(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// out[block] = the values of the next block of the cluster, read from its shared memory.
template <bool kSync>
__global__ void __cluster_dims__(kCluster, 1, 1) ReadNeighbour(int* out) {
  __shared__ int values[kThreads];
  cg::cluster_group cluster = cg::this_cluster();
  values[threadIdx.x] = static_cast<int>(blockIdx.x * 1000 + threadIdx.x);
  if (kSync) cluster.sync();
  const int* neighbour = cluster.map_shared_rank(values, (cluster.block_rank() + 1) % kCluster);
  out[blockIdx.x * kThreads + threadIdx.x] = neighbour[kThreads - 1 - threadIdx.x];
  if (kSync) cluster.sync();  // nobody may exit while its memory is read
}

__device__ void InitializeBarrier(uint64_t* barrier, unsigned count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(SharedAddress(barrier)), "r"(count));
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ void ArriveExpecting(uint64_t* barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(SharedAddress(barrier)), "r"(bytes)
               : "memory");
}

__device__ void Wait(uint64_t* barrier, unsigned parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "WAIT:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra.uni DONE;\n"
      "bra.uni WAIT;\n"
      "DONE:\n"
      "}\n" ::"r"(SharedAddress(barrier)),
      "r"(parity)
      : "memory");
}

// Two tiles of input by bulk copies, doubled, and written back by a bulk copy.
template <bool kWait>
__global__ void BulkDouble(const int* in, int* out, int tiles) {
  __shared__ __align__(128) int buffer[kThreads], result[kThreads];
  __shared__ uint64_t barrier;
  if (threadIdx.x == 0) InitializeBarrier(&barrier, 1);
  __syncthreads();
  for (int tile = 0; tile < tiles; ++tile) {
    if (threadIdx.x == 0) {
      ArriveExpecting(&barrier, sizeof(buffer));
      asm volatile(
          "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
          "[%3];" ::"r"(SharedAddress(buffer)),
          "l"(in + tile * kThreads), "r"(static_cast<unsigned>(sizeof(buffer))), "r"(SharedAddress(&barrier))
          : "memory");
    }
    if (kWait) Wait(&barrier, tile % 2);
    result[threadIdx.x] = 2 * buffer[threadIdx.x];
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
    if (threadIdx.x == 0) {
      asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(out + tile * kThreads),
                   "r"(SharedAddress(result)), "r"(static_cast<unsigned>(sizeof(result)))
                   : "memory");
      asm volatile("cp.async.bulk.commit_group;");
      asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
    }
    __syncthreads();
  }
  if (!kWait) Wait(&barrier, (tiles - 1) % 2);
}

// Each block sends one int per thread to the next block of its cluster with st.async.
__global__ void __cluster_dims__(kCluster, 1, 1) SendToNeighbour(int* out) {
  __shared__ int inbox[kThreads];
  __shared__ uint64_t barrier;
  cg::cluster_group cluster = cg::this_cluster();
  if (threadIdx.x == 0) {
    InitializeBarrier(&barrier, 1);
    ArriveExpecting(&barrier, sizeof(inbox));
  }
  cluster.sync();
  const unsigned next = (cluster.block_rank() + 1) % kCluster;
  unsigned remote_inbox, remote_barrier;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote_inbox) : "r"(SharedAddress(inbox + threadIdx.x)), "r"(next));
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote_barrier) : "r"(SharedAddress(&barrier)), "r"(next));
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.s32 [%0], %1, [%2];" ::"r"(remote_inbox),
               "r"(static_cast<int>(blockIdx.x * 1000 + threadIdx.x)), "r"(remote_barrier)
               : "memory");
  Wait(&barrier, 0);
  out[blockIdx.x * kThreads + threadIdx.x] = inbox[threadIdx.x];
  cluster.sync();
}

template <typename Value>
bool Matches(const std::vector<int>& got, Value value) {
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] != value(static_cast<int>(i) / kThreads, static_cast<int>(i) % kThreads)) return false;
  }
  return true;
}

int main(int argc, char** argv) {
  const char* bug = argc > 1 ? argv[1] : "";
  const int blocks = 2 * kCluster, size = blocks * kThreads;
  const auto neighbour = [](int block) { return block / kCluster * kCluster + (block + 1) % kCluster; };
  const auto previous = [](int block) { return block / kCluster * kCluster + (block + kCluster - 1) % kCluster; };

  test::DeviceArray<int> read(size), sent(size), doubled(size);
  if (std::strcmp(bug, "missing_cluster_sync") == 0) {
    ReadNeighbour<false><<<blocks, kThreads>>>(read.get());
  } else {
    ReadNeighbour<true><<<blocks, kThreads>>>(read.get());
  }
  cudaDeviceSynchronize();
  test::Expect("distributed shared memory",
               Matches(read.ToHost(), [&](int block, int i) { return neighbour(block) * 1000 + kThreads - 1 - i; }));

  std::vector<int> input(size);
  for (int i = 0; i < size; ++i) input[i] = 3 * i + 1;
  test::DeviceArray<int> device_input(input);
  if (std::strcmp(bug, "missing_mbarrier_wait") == 0) {
    BulkDouble<false><<<1, kThreads>>>(device_input.get(), doubled.get(), blocks);
  } else {
    BulkDouble<true><<<1, kThreads>>>(device_input.get(), doubled.get(), blocks);
  }
  cudaDeviceSynchronize();
  test::Expect("bulk copies",
               Matches(doubled.ToHost(), [&](int block, int i) { return 2 * input[block * kThreads + i]; }));

  SendToNeighbour<<<blocks, kThreads>>>(sent.get());
  cudaDeviceSynchronize();
  test::Expect("st.async", Matches(sent.ToHost(), [&](int block, int i) { return previous(block) * 1000 + i; }));
  return test::Finish();
}
