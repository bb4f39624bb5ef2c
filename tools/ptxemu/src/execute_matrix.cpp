// SPDX-License-Identifier: MIT
// Warp-wide matrix instructions: ldmatrix, stmatrix, movmatrix, mma.sync and wmma.
//
// Products are summed in double precision and rounded once to float; real tensor cores round
// otherwise.

#include <vector>

#include "execute.h"
#include "numeric.h"

namespace ptxemu {
namespace {

constexpr uint32_t kAllLanes = 0xffffffff;

void EnterFullWarp(Context& context, const Instruction& instruction) {
  context.launch.ArriveAtWarpOp(context, instruction, kAllLanes);
}

// Lets the matrix function run only if all 32 lanes take part.
template <WarpHandler kHandler>
void WithAllLanes(Launch& launch, Block& block, int warp, uint32_t active, const Instruction& instruction) {
  if (active != kAllLanes) {
    const Thread& thread = block.threads[warp * kWarpSize + __builtin_ctz(active)];
    launch.Report(Finding::kPartialMatrixOp, block, thread, instruction);
    throw EmulationError("matrix operation needs 32 lanes: " + launch.Where(block, thread, instruction));
  }
  kHandler(launch, block, warp, active, instruction);
}

template <WarpHandler kHandler>
Handler BindMatrix(Instruction& i) {
  i.warp_handler = &WithAllLanes<kHandler>;
  return &EnterFullWarp;
}

Context LaneContext(Launch& launch, Block& block, int warp, int lane) {
  return Context(launch, block, block.threads[warp * kWarpSize + lane]);
}

// Value of an element as the tensor core sees it; tf32 drops the low mantissa bits.
float ElementValue(Type type, uint64_t bits, bool upper_half) {
  switch (type) {
    case Type::kF32:
      return BitsToFloat(bits);
    case Type::kTf32:
      return BitsToFloat(bits & 0xffffe000u);
    default:
      return SmallFloat(type, upper_half ? bits >> 16 & 0xffff : bits & 0xffff);
  }
}

bool IsSmallFloat(Type type) { return type == Type::kF16 || type == Type::kBf16; }

// --- ldmatrix, stmatrix, movmatrix ----------------------------------------------------

using Tile = uint16_t[8][8];

// Lane l holds elements (l / 4, 2 * (l % 4)) and the one right of it, or below it if transposed.
uint32_t TileFragment(const Tile& tile, int lane, bool transposed) {
  const int row = lane / 4, column = lane % 4 * 2;
  const uint32_t low = transposed ? tile[column][row] : tile[row][column];
  const uint32_t high = transposed ? tile[column + 1][row] : tile[row][column + 1];
  return low | high << 16;
}

void SetTileFragment(Tile* tile, int lane, bool transposed, uint32_t value) {
  const int row = lane / 4, column = lane % 4 * 2;
  (transposed ? (*tile)[column][row] : (*tile)[row][column]) = value & 0xffff;
  (transposed ? (*tile)[column + 1][row] : (*tile)[row][column + 1]) = value >> 16;
}

struct TileOptions {
  explicit TileOptions(const Instruction& i)
      : count(i.Has("x4")   ? 4
              : i.Has("x2") ? 2
                            : 1),
        transposed(i.Has("trans")) {}
  int count;
  bool transposed;
};

// Lanes 8m to 8m + 7 give the addresses of the rows of matrix m.
void LoadTiles(Launch& launch, Block& block, int warp, uint32_t active, const Instruction& instruction) {
  const TileOptions options(instruction);
  const Operand* o = instruction.operands;
  Tile tiles[4];  // all are read before a result is written: it may replace an address
  for (int row = 0; row < 8 * options.count; ++row) {
    Context context = LaneContext(launch, block, warp, row);
    uint16_t* to = tiles[row / 8][row % 8];
    launch.Load(context, instruction, instruction.space, context.Address(o[1]), sizeof(tiles[0][0]), to);
  }
  for (int m = 0; m < options.count; ++m) {
    const Tile& tile = tiles[m];
    ForEachLane(launch, block, warp, active, [&](int lane, Context& context) {
      context.Write(instruction.ElementOrSelf(o[0], m), TileFragment(tile, lane, options.transposed));
    });
  }
}

void StoreTiles(Launch& launch, Block& block, int warp, uint32_t active, const Instruction& instruction) {
  const TileOptions options(instruction);
  const Operand* o = instruction.operands;
  for (int m = 0; m < options.count; ++m) {
    Tile tile;
    ForEachLane(launch, block, warp, active, [&](int lane, Context& context) {
      const uint64_t value = context.Read(instruction.ElementOrSelf(o[1], m));
      SetTileFragment(&tile, lane, options.transposed, static_cast<uint32_t>(value));
    });
    for (int row = 0; row < 8; ++row) {
      Context context = LaneContext(launch, block, warp, m * 8 + row);
      launch.Store(context, instruction, instruction.space, context.Address(o[0]), sizeof(tile[row]), tile[row]);
    }
  }
}

// Transposes a matrix that lies across the lanes.
void MoveTile(Launch& launch, Block& block, int warp, uint32_t active, const Instruction& instruction) {
  Tile tile;
  ForEachLane(launch, block, warp, active, [&](int lane, Context& context) {
    const uint64_t value = context.Read(instruction.operands[1]);
    SetTileFragment(&tile, lane, false, static_cast<uint32_t>(value));
  });
  ForEachLane(launch, block, warp, active, [&](int lane, Context& context) {
    context.Write(instruction.operands[0], TileFragment(tile, lane, true));
  });
}

Handler BindTiles(Instruction& i) {
  if (!i.Has("m8n8") || !i.Has("b16")) return nullptr;
  if (i.name == "ldmatrix") return BindMatrix<&LoadTiles>(i);
  return i.name == "stmatrix" ? BindMatrix<&StoreTiles>(i) : BindMatrix<&MoveTile>(i);
}

// --- mma.sync -------------------------------------------------------------------------

// d = a * b + c for row-major a (m x k), b given as k x n, c (m x n).
void MultiplyAccumulate(const std::vector<float>& a, const std::vector<float>& b, int m, int n, int k,
                        std::vector<float>* c) {
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      double sum = 0;
      for (int p = 0; p < k; ++p) sum += static_cast<double>(a[i * k + p]) * b[p * n + j];
      float& element = (*c)[i * n + j];
      element = static_cast<float>(sum + element);
    }
  }
}

// Fragment layouts of m16n8: a lane is in group g = lane / 4 and has place q = lane % 4 there.
struct MmaLane {
  explicit MmaLane(int lane) : group(lane / 4), place(lane % 4) {}
  // Row and column of element i of C and D.
  int RowC(int i) const { return group + i / 2 * 8; }
  int ColumnC(int i) const { return place * 2 + i % 2; }
  int group, place;
};

// Reads the registers of A: register r holds row g + 8 * (r % 2), columns by r / 2.
void ReadMmaA(const Instruction& instruction, Type type, int k, int lane, const Context& context,
              std::vector<float>* a) {
  const MmaLane place(lane);
  const Operand& operand = instruction.operands[1];
  for (int r = 0; r < operand.element_count; ++r) {
    const uint64_t bits = context.Read(instruction.Element(operand, r));
    const int row = place.group + r % 2 * 8;
    if (type == Type::kTf32) {
      (*a)[row * k + place.place + r / 2 * 4] = ElementValue(type, bits, false);
      continue;
    }
    for (int half = 0; half < 2; ++half) {
      (*a)[row * k + place.place * 2 + half + r / 2 * 8] = ElementValue(type, bits, half == 1);
    }
  }
}

void ReadMmaB(const Instruction& instruction, Type type, int n, int lane, const Context& context,
              std::vector<float>* b) {
  const MmaLane place(lane);
  const Operand& operand = instruction.operands[2];
  const int count = operand.kind == OperandKind::kVector ? operand.element_count : 1;
  for (int r = 0; r < count; ++r) {
    const uint64_t bits = context.Read(instruction.ElementOrSelf(operand, r));
    if (type == Type::kTf32) {
      (*b)[(place.place + r * 4) * n + place.group] = ElementValue(type, bits, false);
      continue;
    }
    for (int half = 0; half < 2; ++half) {
      (*b)[(place.place * 2 + half + r * 8) * n + place.group] = ElementValue(type, bits, half == 1);
    }
  }
}

void Mma(Launch& launch, Block& block, int warp, uint32_t active, const Instruction& instruction) {
  const auto [m, n, k] = instruction.shape;
  const Operand* o = instruction.operands;
  const Type d_type = instruction.types[0], a_type = instruction.types[1], c_type = instruction.types[3];
  std::vector<float> a(m * k), b(k * n), c(m * n);
  const int columns = n;
  ForEachLane(launch, block, warp, active, [&](int lane, Context& context) {
    ReadMmaA(instruction, a_type, instruction.shape[2], lane, context, &a);
    ReadMmaB(instruction, a_type, columns, lane, context, &b);
    const MmaLane place(lane);
    for (int i = 0; i < 4; ++i) {
      const int r = c_type == Type::kF32 ? i : i / 2;
      const uint64_t bits = context.Read(instruction.Element(o[3], r));
      c[place.RowC(i) * columns + place.ColumnC(i)] = ElementValue(c_type, bits, i % 2 == 1);
    }
  });
  MultiplyAccumulate(a, b, m, n, k, &c);
  ForEachLane(launch, block, warp, active, [&](int lane, Context& context) {
    const MmaLane place(lane);
    const auto value = [&](int i) { return c[place.RowC(i) * columns + place.ColumnC(i)]; };
    if (d_type == Type::kF32) {
      for (int i = 0; i < 4; ++i) context.Write(instruction.Element(o[0], i), FloatToBits(value(i)));
      return;
    }
    for (int i = 0; i < 2; ++i) {
      const uint64_t packed = DoubleToHalf(value(2 * i)) | uint64_t{DoubleToHalf(value(2 * i + 1))} << 16;
      context.Write(instruction.Element(o[0], i), packed);
    }
  });
}

Handler BindMma(Instruction& i) {
  if (i.types.size() != 4 || i.shape[0] != 16 || i.shape[1] != 8) return nullptr;
  if (!i.Has("row") || !i.Has("col") || i.Has("sp")) return nullptr;
  if (!IsSmallFloat(i.types[1]) && i.types[1] != Type::kTf32) return nullptr;
  return BindMatrix<&Mma>(i);
}

// --- wmma -----------------------------------------------------------------------------

// PTX leaves the fragment layout open. Here lane l holds elements [l * n, (l + 1) * n) of the
// matrix in row order, n = elements / 32; fragments with more registers than that hold copies.
float FragmentElement(const Instruction& instruction, const Operand& fragment, Type type, int element,
                      const Context& context) {
  const int r = IsSmallFloat(type) ? element / 2 : element;
  const uint64_t bits = context.Read(instruction.ElementOrSelf(fragment, r));
  return ElementValue(type, bits, element % 2 == 1);
}

void SetFragmentBits(const Instruction& instruction, const Operand& fragment, Type type, int element, uint64_t bits,
                     Context* context) {
  if (!IsSmallFloat(type)) { return context->Write(instruction.ElementOrSelf(fragment, element), bits); }
  const Operand& target = instruction.ElementOrSelf(fragment, element / 2);
  const uint64_t old = element % 2 == 1 ? context->Read(target) & 0xffff : 0;
  context->Write(target, old | (bits & 0xffff) << (element % 2 * 16));
}

// wmma.load and wmma.store; operands: fragment and address, then the stride if given.
template <bool kIsLoad>
void WmmaMemory(Launch& launch, Block& block, int warp, uint32_t active, const Instruction& instruction) {
  const auto [m, n, k] = instruction.shape;
  const Type type = instruction.type;
  const Operand& fragment = instruction.operands[kIsLoad ? 0 : 1];
  const Operand& address = instruction.operands[kIsLoad ? 1 : 0];
  const int rows = instruction.Has("b") ? k : m, columns = instruction.Has("a") ? k : n;
  const bool row_major = instruction.Has("row");
  const int per_lane = rows * columns / kWarpSize;
  const int size = SizeOf(type);
  const int held = fragment.element_count * (IsSmallFloat(type) ? 2 : 1);
  const int count = kIsLoad ? held : per_lane;
  ForEachLane(launch, block, warp, active, [&](int lane, Context& context) {
    uint64_t stride = row_major ? columns : rows;
    if (instruction.operand_count > 2) stride = context.Read(instruction.operands[2]);
    for (int e = 0; e < count; ++e) {
      const uint64_t index = lane * per_lane + e % per_lane;
      const uint64_t row = index / columns, column = index % columns;
      const uint64_t place = row_major ? row * stride + column : column * stride + row;
      const uint64_t at = context.Address(address) + place * size;
      uint64_t bits = 0;
      if (kIsLoad) {
        launch.Load(context, instruction, instruction.space, at, size, &bits);
        SetFragmentBits(instruction, fragment, type, e, bits, &context);
      } else {
        const bool small = IsSmallFloat(type);
        bits = context.Read(instruction.Element(fragment, small ? e / 2 : e));
        if (small && e % 2 == 1) bits >>= 16;
        launch.Store(context, instruction, instruction.space, at, size, &bits);
      }
    }
  });
}

void WmmaMultiply(Launch& launch, Block& block, int warp, uint32_t active, const Instruction& instruction) {
  const auto [m, n, k] = instruction.shape;
  const Operand* o = instruction.operands;
  // "wmma.mma...f32.f32" has half-precision operands; other forms name all four types.
  const bool short_form = instruction.types.size() == 2;
  const Type d_type = instruction.types[0];
  const Type a_type = short_form ? Type::kF16 : instruction.types[1];
  const Type c_type = short_form ? instruction.types[1] : instruction.types[3];
  std::vector<float> a(m * k), b(k * n), c(m * n);
  const auto read = [&](int lane, const Operand& fragment, Type type, const Context& context,
                        std::vector<float>* matrix) {
    const int per_lane = static_cast<int>(matrix->size()) / kWarpSize;
    for (int e = 0; e < per_lane; ++e) {
      (*matrix)[lane * per_lane + e] = FragmentElement(instruction, fragment, type, e, context);
    }
  };
  ForEachLane(launch, block, warp, active, [&](int lane, Context& context) {
    read(lane, o[1], a_type, context, &a);
    read(lane, o[2], a_type, context, &b);
    read(lane, o[3], c_type, context, &c);
  });
  MultiplyAccumulate(a, b, m, n, k, &c);
  const int per_lane = m * n / kWarpSize;
  ForEachLane(launch, block, warp, active, [&](int lane, Context& context) {
    for (int e = 0; e < per_lane; ++e) {
      const float value = c[lane * per_lane + e];
      const uint64_t bits = d_type == Type::kF32 ? FloatToBits(value) : DoubleToHalf(value);
      SetFragmentBits(instruction, o[0], d_type, e, bits, &context);
    }
  });
}

Handler BindWmma(Instruction& i) {
  if (i.Has("load")) return BindMatrix<&WmmaMemory<true>>(i);
  if (i.Has("store")) return BindMatrix<&WmmaMemory<false>>(i);
  const bool is_float = IsFloat(i.types.at(0)) && i.types[0] != Type::kF64;
  return is_float && (i.types.size() == 2 || i.types.size() == 4) ? BindMatrix<&WmmaMultiply>(i) : nullptr;
}

}  // namespace

void AddMatrixBinders(BinderTable* table) {
  table->insert({
      {"ldmatrix", &BindTiles},
      {"stmatrix", &BindTiles},
      {"movmatrix", &BindTiles},
      {"mma", &BindMma},
      {"wmma", &BindWmma},
  });
}

}  // namespace ptxemu
