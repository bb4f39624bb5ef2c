// SPDX-License-Identifier: MIT
// The one product of the library, C (M,N) = A (M,K) B (K,N), with what is done to C left to an epilogue in registers.
//
//   A   stored (M,K), "k fast", or (K,M);   B   stored (N,K), "k fast" like a weight, or (K,N). Lines are ld apart.
//         pre = X W^T  : A k fast, B k fast       dX = dG W : A k fast, B not       dW = dG^T X : neither
//   gates  With Epilogue::kGates = G > 1, B is stored (G N,K): C has G values at each (row, column), and the lines
//          of B are fetched in the order [8 columns][gate] that puts all gates of a column into one lane. This is
//          how a step of the recurrence runs a cell on the sums with weights that nobody has packed.
//   epilogue(row, column, sums[kGates][2], count)   for columns column, column + 1, of which `count` exist; row < M.
//          Each (row, column) is given to one thread once; an epilogue may therefore read and write C in place.
//          With Epilogue::kStarts, start(...) with the same arguments sets what the sums begin from, else 0.
//   order  Tiles of k are dealt in turn to gridDim.z parts, and each part is one chain over its tiles, whatever M, N
//          and the grid are. There is no atomic.
//
// A ring of kStages tiles in shared memory: while one is multiplied the next ones travel by cp.async. One
// __syncthreads a tile is enough: after it, tile i has arrived for all threads and tile i - 1 is read by none, so
// its place takes tile i + kStages - 1. Where lines are not aligned to 16 bytes, elements are copied one by one.
#pragma once
#include "math_policy.cuh"

FR_NAMESPACE_BEGIN
inline Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }

// Which line of memory is line number n of an operand, or -1: one of zeros
struct InOrder {
  FR_DEVICE Index operator()(Index n) const { return n; }
};

template <class T, class Lines_ = InOrder>
struct Matrix {
  using Lines = Lines_;
  const T* p;
  Index ld;
  bool aligned;  // every line starts at a multiple of 16 bytes
  Lines lines;
  Matrix(const T* p_, Index ld_, Lines lines_ = {})
      : p(p_), ld(ld_), aligned(ld_ * sizeof(T) % 16 == 0 && reinterpret_cast<size_t>(p_) % 16 == 0), lines(lines_) {}
};

// f(e) for the one or two columns that exist, with e known to the compiler: an array indexed by a variable would
// live in memory
template <class F>
FR_DEVICE void each_column(int count, F f) {
  f(0);
  if (count > 1) f(1);
}

struct Extents {
  Index M, N, K;
  Index offset;  // how many k came before in products that this one goes on; 0 where an operand is k fast
};

template <class Math, class Tile, bool kAKFast, bool kBKFast>
struct ProductLayout {
  using T = typename Math::Scalar;
  using A = TileLayout<T, Tile::kM, Tile::kKBytes, kAKFast>;
  using B = TileLayout<T, Tile::kN, Tile::kKBytes, kBKFast>;
  static constexpr int kStage = A::kSize + B::kSize, kBytes = Tile::kStages * kStage * sizeof(T);
};

// line(i): the line of memory that becomes line i of the tile, or -1 for zeros. [start, end): along the line.
template <class L, int kThreads, class M, class Line>
FR_DEVICE void load_tile(typename L::T* tile, const M& from, Line line, Index start, Index end) {
  using T = typename L::T;
  constexpr int kChunks = L::kLength / L::kVector, kAll = L::kLines * kChunks;
#pragma unroll
  for (int first = 0; first < kAll; first += kThreads) {
    const int c = first + threadIdx.x;
    if (kAll % kThreads != 0 && c >= kAll) break;
    const Index source = line(c / kChunks), at = start + c % kChunks * L::kVector;
    const Index left = source < 0 ? 0 : end - at;
    const int count = left < 0 ? 0 : left < L::kVector ? static_cast<int>(left) : L::kVector;
    T* const to = tile + c / kChunks * L::kPitch + c % kChunks * L::kVector;
    const T* const p = count ? from.p + source * from.ld + at : from.p;
    if (from.aligned) {
      copy_async(to, p, count * sizeof(T));
    } else {
#pragma unroll
      for (int e = 0; e < L::kVector; ++e) to[e] = e < count ? p[e] : T(0.0f);
    }
  }
}

// A tile of an operand whose rows (A: m, B: gates and columns) begin at `origin`; k from `k` on, of [0, k_end)
template <class L, int kThreads, int kGates, class M>
FR_DEVICE void load_operand(typename L::T* tile, const M& from, Index origin, Index extent, Index k, Index k_end) {
  static_assert(kGates == 1 || L::kKFast, "gates are gathered from lines along k");
  if constexpr (L::kKFast) {
    const auto line = [&](int i) -> Index {
      const Index column = origin + i / (8 * kGates) * 8 + i % 8;
      return column < extent ? from.lines(i / 8 % kGates * extent + column) : -1;
    };
    load_tile<L, kThreads>(tile, from, line, k, k_end);
  } else {
    const auto line = [&](int i) -> Index { return k + i >= 0 && k + i < k_end ? from.lines(k + i) : -1; };
    load_tile<L, kThreads>(tile, from, line, origin, extent);
  }
}

// f(row, column, values[kGates][2], count) for all that a lane owns; values are taken from the sums and put back
template <class Tile, int kGates, class Real, class F>
FR_DEVICE void each_group(Real (&sums)[Tile::kMTiles][Tile::kNTiles][4], Index row, Index column,
                          const Extents& extents, F f) {
  static_assert(Tile::kNTiles % kGates == 0, "a lane must own all gates of a column");
#pragma unroll
  for (int i = 0; i < 2 * Tile::kMTiles; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::kNTiles / kGates; ++j) {
      const Index r = row + 8 * i, c = column + 8 * j;
      if (r >= extents.M || c >= extents.N) continue;
      Real values[kGates][2];
#pragma unroll
      for (int q = 0; q < 2 * kGates; ++q) values[q / 2][q % 2] = sums[i / 2][j * kGates + q / 2][i % 2 * 2 + q % 2];
      f(r, c, values, c + 1 < extents.N ? 2 : 1);
#pragma unroll
      for (int q = 0; q < 2 * kGates; ++q) sums[i / 2][j * kGates + q / 2][i % 2 * 2 + q % 2] = values[q / 2][q % 2];
    }
  }
}

// 128 registers, which leaves room for two large blocks a multiprocessor
template <class Math, class Tile, bool kAKFast, bool kBKFast, class A, class B, class Epilogue>
__global__ void __launch_bounds__(Tile::kThreads, 512 / Tile::kThreads)
    product_kernel(const A a, const B b, const Extents extents, const Epilogue epilogue) {
  using Layout = ProductLayout<Math, Tile, kAKFast, kBKFast>;
  using T = typename Math::Scalar;
  using Real = typename Math::Real;
  constexpr int G = Epilogue::kGates, kThreads = Tile::kThreads, kStages = Tile::kStages, kK = Layout::A::kK;
  extern __shared__ __align__(16) unsigned char memory[];
  T* const ring = reinterpret_cast<T*>(memory);
  const Index m = static_cast<Index>(blockIdx.x) * Tile::kM, n = static_cast<Index>(blockIdx.y) * (Tile::kN / G);
  const int parts = gridDim.z;
  // Tiles are numbered from the first k of all, and number t is of part t % parts.
  const Index oldest = extents.offset / kK, newest = (extents.offset + extents.K + kK - 1) / kK;
  const Index first = oldest + (blockIdx.z + parts - oldest % parts) % parts;
  const int tiles = extents.K > 0 && first < newest ? static_cast<int>((newest - first + parts - 1) / parts) : 0;
  const auto load = [&](int i) {
    if (i < tiles) {
      T* const stage = ring + i % kStages * Layout::kStage;
      const Index k = (first + static_cast<Index>(i) * parts) * kK - extents.offset;
      load_operand<typename Layout::A, kThreads, 1>(stage, a, m, extents.M, k, extents.K);
      load_operand<typename Layout::B, kThreads, G>(stage + Layout::A::kSize, b, n, extents.N, k, extents.K);
    }
    commit_copies();  // empty at the end, so that the count of groups holds
  };
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warp_m = warp % Tile::kWarpsM * (Tile::kM / Tile::kWarpsM);
  const int warp_n = warp / Tile::kWarpsM * (Tile::kN / Tile::kWarpsN);
  const Index row = m + warp_m + lane / 4, column = n + warp_n / G + lane % 4 * 2;
  Real sums[Tile::kMTiles][Tile::kNTiles][4] = {};
  if constexpr (Epilogue::kStarts)
    each_group<Tile, G>(sums, row, column, extents,
                        [&](Index r, Index c, Real(&values)[G][2], int count) { epilogue.start(r, c, values, count); });
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) load(i);
#pragma unroll 1
  for (int i = 0; i < tiles; ++i) {
    wait_copies<kStages - 2>();
    __syncthreads();
    load(i + kStages - 1);
    const T* const stage = ring + i % kStages * Layout::kStage;
    Math::template accumulate<typename Layout::A, typename Layout::B>(sums, stage, stage + Layout::A::kSize, warp_m,
                                                                      warp_n);
  }
  wait_copies<0>();  // only empty groups are left
  each_group<Tile, G>(sums, row, column, extents,
                      [&](Index r, Index c, Real(&values)[G][2], int count) { epilogue(r, c, values, count); });
}

// parts > 1: the sums of each part go to the epilogue, which knows them by blockIdx.z
template <class Math, class Tile, bool kAKFast, bool kBKFast, class A, class B, class Epilogue>
cudaError_t product(const A& a, const B& b, const Extents& extents, const Epilogue& epilogue, cudaStream_t stream,
                    int parts = 1) {
  if (extents.M == 0 || extents.N == 0) return cudaSuccess;
  using Layout = ProductLayout<Math, Tile, kAKFast, kBKFast>;
  const auto kernel = product_kernel<Math, Tile, kAKFast, kBKFast, A, B, Epilogue>;
  if constexpr (Layout::kBytes > 48 * 1024) {  // what a kernel may have unasked
    const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Layout::kBytes);
    if (error != cudaSuccess) return error;
  }
  const dim3 grid(static_cast<unsigned>(ceil_div(extents.M, Tile::kM)),
                  static_cast<unsigned>(ceil_div(extents.N, Tile::kN / Epilogue::kGates)), parts);
  kernel<<<grid, Tile::kThreads, Layout::kBytes, stream>>>(a, b, extents, epilogue);
  return cudaGetLastError();
}

// C = sums + bias, or C += sums where add. C (M,N), rows ld apart; bias (N) or null
template <class Real>
struct Store {
  static constexpr int kGates = 1;
  static constexpr bool kStarts = false;
  Real* C;
  Index ld;
  const Real* bias;
  bool add;
  FR_DEVICE void operator()(Index row, Index column, const Real (&sums)[1][2], int count) const {
    Real* const to = C + row * ld + column;
    each_column(count, [&](int e) { to[e] = sums[0][e] + (bias ? bias[column + e] : 0) + (add ? to[e] : 0); });
  }
};

// In how many parts a long sum over k is divided so that a large device has work: by the shape alone, for the bits
// depend on it. About 264 blocks, two for each of 132 multiprocessors.
constexpr int kMostParts = 16;
template <class Tile>
int parts_of(Index M, Index N) {
  const Index blocks = ceil_div(M, Tile::kM) * ceil_div(N, Tile::kN), parts = blocks > 0 ? 264 / blocks : 1;
  return static_cast<int>(parts < 1 ? 1 : parts > kMostParts ? kMostParts : parts);
}
// At least parts_of M N, and growing with either
template <class Tile>
Index parts_size(Index M, Index N) {
  const Index few = kMostParts * M * N, many = M * N + 264 * Tile::kM * Tile::kN;
  return few < many ? few : many;
}

// The sums of part z, in parts (parts,M,N), which go on from product to product
template <class Real>
struct GoOn {
  static constexpr int kGates = 1;
  static constexpr bool kStarts = true;
  Real* parts;
  Index M, N;
  bool first;  // nothing is there yet
  FR_DEVICE Real* at(Index row, Index column) const { return parts + (blockIdx.z * M + row) * N + column; }
  FR_DEVICE void start(Index row, Index column, Real (&sums)[1][2], int count) const {
    if (first) return;
    each_column(count, [&](int e) { sums[0][e] = at(row, column)[e]; });
  }
  FR_DEVICE void operator()(Index row, Index column, const Real (&sums)[1][2], int count) const {
    each_column(count, [&](int e) { at(row, column)[e] = sums[0][e]; });
  }
};
FR_NAMESPACE_END
