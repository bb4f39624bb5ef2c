// SPDX-License-Identifier: MIT
// The few PTX instructions (sm_80) that C++ has no word for. Nothing here knows a tile or a cell.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include "api.h"
#include "cells/cell.h"
#define FR_DEVICE __device__ __forceinline__

FR_NAMESPACE_BEGIN
FR_DEVICE unsigned shared_address(const void* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }

// 16 bytes, of which the first `bytes` come from global memory and the rest are zero. Both sides aligned to 16.
FR_DEVICE void copy_async(void* to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
               : "memory");
}
FR_DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most kPending of this thread's groups are under way
template <int kPending>
FR_DEVICE void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Four (two) 8 x 16-byte matrices; lane l gives the address of row l % 8 of matrix l / 8
template <bool kTransposed>
FR_DEVICE void load_matrices(unsigned (&r)[4], const void* row) {
  if constexpr (kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
template <bool kTransposed>
FR_DEVICE void load_matrices(unsigned (&r)[2], const void* row) {
  if constexpr (kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(row))
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(row))
                 : "memory");
}

// d += a b on tensor cores: 16 rows, 8 columns, 32 bytes of k
#define FR_MMA(NAME, SHAPE_AND_TYPES)                                                                \
  FR_DEVICE void NAME(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {               \
    asm("mma.sync.aligned." SHAPE_AND_TYPES " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" \
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                             \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                         \
  }
FR_MMA(mma_bf16, "m16n8k16.row.col.f32.bf16.bf16.f32")
FR_MMA(mma_f16, "m16n8k16.row.col.f32.f16.f16.f32")
FR_MMA(mma_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")
#undef FR_MMA

// Nearest tf32: the hardware would truncate what is fed without
FR_DEVICE unsigned to_tf32(float x) {
  unsigned r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
  return r;
}

// What a product multiplies, of a number
template <class Scalar, class Real>
FR_DEVICE Scalar round_to(Real number) {
  if constexpr (sizeof(Scalar) == sizeof(Real)) return number;
  else return Scalar(number);
}
FR_NAMESPACE_END
