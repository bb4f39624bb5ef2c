// SPDX-License-Identifier: MIT
// The labels of a kernel body: where each one stands, and what refers to it, often before it is defined.

#ifndef PTXEMU_LABEL_TABLE_H_
#define PTXEMU_LABEL_TABLE_H_

#include <cstddef>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "instruction.h"

namespace ptxemu {

// Labels are scoped by braces. A scope is known by a number that no other scope of the kernel has.
class LabelTable {
 public:
  // `position` counts the instructions of the kernel.
  void Define(int scope, const std::string& name, int position);

  // Makes the label defined last the name of a table of branch targets.
  void AddBranchTable(std::vector<std::string> targets);

  // An operand that stands for the label until Resolve. `scopes` are those around it, outermost first.
  Operand Refer(const std::string& name, std::vector<int> scopes);

  // Gives every operand made by Refer the position of its label. What names an unknown label becomes an instruction
  // that fails when it is reached.
  void Resolve(Kernel* kernel) const;

 private:
  struct Label {
    int scope;
    std::string name;
    bool operator==(const Label& o) const { return scope == o.scope && name == o.name; }
  };
  struct LabelHash {
    size_t operator()(const Label& label) const { return std::hash<std::string>()(label.name) * 31 + label.scope; }
  };
  struct LabelUse {
    std::string name;
    std::vector<int> scopes;  // outermost first
  };

  void ResolveOperand(Operand* operand, Instruction* instruction) const;
  int Find(const LabelUse& use) const;

  Label last_label_ = {0, ""};
  std::unordered_map<Label, int, LabelHash> positions_;
  std::unordered_map<Label, std::vector<std::string>, LabelHash> branch_tables_;
  std::vector<LabelUse> uses_;
};

}  // namespace ptxemu

#endif  // PTXEMU_LABEL_TABLE_H_
