// SPDX-License-Identifier: MIT
// Scopes are searched from the innermost outwards, for tables of branch targets before labels.

#include "label_table.h"

#include <utility>

#include "decode.h"

namespace ptxemu {

void LabelTable::Define(int scope, const std::string& name, int position) {
  last_label_ = {scope, name};
  positions_[last_label_] = position;
}

void LabelTable::AddBranchTable(std::vector<std::string> targets) { branch_tables_[last_label_] = std::move(targets); }

Operand LabelTable::Refer(const std::string& name, std::vector<int> scopes) {
  Operand operand;
  operand.kind = OperandKind::kLabel;
  operand.index = static_cast<int>(uses_.size());
  uses_.push_back({name, std::move(scopes)});
  return operand;
}

void LabelTable::Resolve(Kernel* kernel) const {
  for (Instruction& instruction : kernel->code) {
    for (int i = 0; i < instruction.operand_count; ++i) {
      Operand& operand = instruction.operands[i];
      if (operand.kind != OperandKind::kLabel) continue;
      try {
        ResolveOperand(&operand, &instruction);
      } catch (const EmulationError& error) { MakeUnsupported(&instruction, error.what()); }
    }
  }
}

// Branch tables become vector operands of labels.
void LabelTable::ResolveOperand(Operand* operand, Instruction* instruction) const {
  const LabelUse& use = uses_[operand->index];
  for (auto scope = use.scopes.rbegin(); scope != use.scopes.rend(); ++scope) {
    const auto table = branch_tables_.find({*scope, use.name});
    if (table != branch_tables_.end()) {
      operand->first_element = static_cast<int16_t>(instruction->elements.size());
      operand->element_count = static_cast<int16_t>(table->second.size());
      for (const std::string& target : table->second) {
        Operand element;
        element.kind = OperandKind::kLabel;
        element.index = Find({target, use.scopes});
        instruction->elements.push_back(element);
      }
      return;
    }
  }
  operand->index = Find(use);
}

int LabelTable::Find(const LabelUse& use) const {
  for (auto scope = use.scopes.rbegin(); scope != use.scopes.rend(); ++scope) {
    const auto found = positions_.find({*scope, use.name});
    if (found != positions_.end()) return found->second;
  }
  throw EmulationError("unknown name " + use.name);
}

}  // namespace ptxemu
