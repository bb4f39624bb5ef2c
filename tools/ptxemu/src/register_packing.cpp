// SPDX-License-Identifier: MIT
// Register packing: liveness by data flow over basic blocks, then linear scan over live ranges.
//
// A live range is the hull of all places where the register is used, set or live. Registers of the
// same instruction never share a place, so that handlers may write results before they have read
// everything.

#include "register_packing.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <unordered_set>

namespace ptxemu {
namespace {

using BitSet = std::vector<uint64_t>;

void SetBit(BitSet* bits, int i) { (*bits)[i / 64] |= uint64_t{1} << (i % 64); }
void ClearBit(BitSet* bits, int i) { (*bits)[i / 64] &= ~(uint64_t{1} << (i % 64)); }

// Instructions whose first operand, if it is a register, is read and not set.
bool HasNoResult(const Instruction& instruction) {
  static const auto* names = new std::unordered_set<std::string>{"bra",        "brx", "cp",  "call",  "nanosleep",
                                                                 "setmaxnreg", "st",  "red", "fence", "membar"};
  const bool is_barrier = instruction.name == "bar" || instruction.name == "barrier";
  if (is_barrier) return !instruction.Has("red");
  return names->count(instruction.name) != 0;
}

// Calls visit(register number, is it a result) for all registers; the numbers may be changed.
template <typename InstructionType, typename Visitor>
void ForEachRegister(InstructionType& instruction, Visitor visit) {
  if (instruction.predicate >= 0) visit(instruction.predicate, false);
  const bool first_is_result = !HasNoResult(instruction);
  for (int i = 0; i < instruction.operand_count; ++i) {
    auto& operand = instruction.operands[i];
    const bool is_result = i == 0 && first_is_result && operand.kind != OperandKind::kAddress;
    const bool readable = operand.kind == OperandKind::kValue || operand.kind == OperandKind::kAddress;
    if (readable && operand.bank == kRegisterBank) visit(operand.index, is_result);
    if (operand.second >= 0) visit(operand.second, is_result);
    if (operand.kind != OperandKind::kVector) continue;
    for (int e = 0; e < operand.element_count; ++e) {
      auto& element = instruction.elements[operand.first_element + e];
      if (element.kind == OperandKind::kValue && element.bank == kRegisterBank) { visit(element.index, is_result); }
    }
  }
}

class RegisterPacker {
 public:
  explicit RegisterPacker(Kernel* kernel) : kernel_(*kernel), words_((kernel->register_count + 63) / 64) {}

  void Run() {
    FindBlocks();
    for (Block& block : blocks_) SummarizeBlock(&block);
    Solve();
    FindRanges();
    Assign();
    for (Instruction& instruction : kernel_.code) {
      ForEachRegister(instruction, [this](int32_t& index, bool) { index = packed_[index]; });
    }
    kernel_.register_count = packed_count_;
  }

 private:
  struct Block {
    int begin = 0, end = 0;
    std::vector<int> successors;
    BitSet used, set;  // used before set; set before any use
    BitSet live_in, live_out;
  };
  struct Range {
    int first = -1, last = -1;
    void Include(int position) {
      if (first < 0 || position < first) first = position;
      last = std::max(last, position);
    }
  };

  static std::vector<int> TargetsOf(const Instruction& instruction) {
    std::vector<int> targets;
    if (instruction.name == "bra") targets.push_back(instruction.operands[0].index);
    if (instruction.name == "brx") {
      for (const Operand& element : instruction.elements) targets.push_back(element.index);
    }
    return targets;
  }

  static bool FallsThrough(const Instruction& instruction) {
    if (instruction.predicate >= 0) return true;
    const std::string& name = instruction.name;
    return name != "bra" && name != "brx" && name != "ret" && name != "exit";
  }

  void FindBlocks() {
    const int size = static_cast<int>(kernel_.code.size());
    std::vector<bool> starts(size + 1);
    starts[0] = true;
    for (int i = 0; i < size; ++i) {
      const std::vector<int> targets = TargetsOf(kernel_.code[i]);
      for (int target : targets) starts[target] = true;
      if (!targets.empty() || !FallsThrough(kernel_.code[i])) starts[i + 1] = true;
    }
    std::vector<int> block_at(size);
    for (int i = 0; i < size; ++i) {
      if (starts[i]) blocks_.emplace_back().begin = i;
      blocks_.back().end = i + 1;
      block_at[i] = static_cast<int>(blocks_.size()) - 1;
    }
    for (Block& block : blocks_) {
      const Instruction& last = kernel_.code[block.end - 1];
      for (int target : TargetsOf(last)) block.successors.push_back(block_at[target]);
      if (FallsThrough(last) && block.end < size) block.successors.push_back(block_at[block.end]);
    }
  }

  // An instruction under a predicate may leave the old value of its result in place.
  static bool SetsAlways(const Instruction& instruction) { return instruction.predicate < 0; }

  void SummarizeBlock(Block* block) const {
    block->used = block->set = block->live_in = block->live_out = BitSet(words_);
    for (int i = block->end - 1; i >= block->begin; --i) {
      const Instruction& instruction = kernel_.code[i];
      ForEachRegister(instruction, [&](int index, bool is_result) {
        if (!is_result || !SetsAlways(instruction)) return;
        ClearBit(&block->used, index);
        SetBit(&block->set, index);
      });
      ForEachRegister(instruction, [&](int index, bool is_result) {
        if (is_result && SetsAlways(instruction)) return;
        SetBit(&block->used, index);
      });
    }
  }

  // live_out = union of live_in of the successors; live_in = used or (live_out and not set).
  void Solve() {
    for (bool changed = true; changed;) {
      changed = false;
      for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) {
        for (size_t w = 0; w < words_; ++w) {
          uint64_t out = 0;
          for (int successor : block->successors) out |= blocks_[successor].live_in[w];
          const uint64_t in = block->used[w] | (out & ~block->set[w]);
          changed |= in != block->live_in[w];
          block->live_out[w] = out;
          block->live_in[w] = in;
        }
      }
    }
  }

  void IncludeAll(const BitSet& registers, int position) {
    for (size_t w = 0; w < words_; ++w) {
      for (uint64_t bits = registers[w]; bits != 0; bits &= bits - 1) {
        ranges_[w * 64 + __builtin_ctzll(bits)].Include(position);
      }
    }
  }

  void FindRanges() {
    ranges_.resize(words_ * 64);
    for (const Block& block : blocks_) {
      IncludeAll(block.live_in, block.begin);
      IncludeAll(block.live_out, block.end - 1);
      for (int i = block.begin; i < block.end; ++i) {
        ForEachRegister(kernel_.code[i], [&](int index, bool) { ranges_[index].Include(i); });
      }
    }
  }

  void Assign() {
    packed_.assign(kernel_.register_count, 0);
    std::vector<int> order;
    for (int i = 0; i < kernel_.register_count; ++i) {
      if (ranges_[i].first >= 0) order.push_back(i);
    }
    std::sort(order.begin(), order.end(), [this](int a, int b) { return ranges_[a].first < ranges_[b].first; });
    using Ending = std::pair<int, int>;  // last position, packed register
    std::priority_queue<Ending, std::vector<Ending>, std::greater<Ending>> active;
    std::priority_queue<int, std::vector<int>, std::greater<int>> free;
    for (int index : order) {
      for (; !active.empty() && active.top().first < ranges_[index].first; active.pop()) {
        free.push(active.top().second);
      }
      if (free.empty()) free.push(packed_count_++);
      packed_[index] = free.top();
      free.pop();
      active.push({ranges_[index].last, packed_[index]});
    }
  }

  Kernel& kernel_;
  const size_t words_;
  std::vector<Block> blocks_;
  std::vector<Range> ranges_;  // by virtual register
  std::vector<int> packed_;    // by virtual register
  int packed_count_ = 0;
};

}  // namespace

void PackRegisters(Kernel* kernel) { RegisterPacker(kernel).Run(); }

}  // namespace ptxemu
