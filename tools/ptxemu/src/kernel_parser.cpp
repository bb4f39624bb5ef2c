// SPDX-License-Identifier: MIT
// Kernel level of the PTX parser. Registers and labels are scoped by braces, as inline assembly
// needs.

#include "kernel_parser.h"

#include <cstdio>
#include <unordered_map>

#include "declaration.h"
#include "decode.h"
#include "label_table.h"
#include "register_packing.h"
#include "special_registers.h"
#include "symbol_table.h"

namespace ptxemu {
namespace {

class KernelParser {
 public:
  KernelParser(TextCursor* cursor, const Module* module, Kernel* kernel)
      : cursor_(*cursor), kernel_(*kernel), symbols_(module, kernel) {
    OpenScope();
    sink_register_ = NewRegister();
  }

  void Parse() {
    while (scopes_.size() > 0) ParseStatement();
    labels_.Resolve(&kernel_);
    Instruction end;
    end.name = "ret";
    end.text = "<end of kernel>";
    Decode(&end);
    kernel_.code.push_back(std::move(end));
    PackRegisters(&kernel_);
  }

 private:
  struct Scope {
    int id;
    std::unordered_map<std::string, int> registers;
  };

  // --- Statements ---------------------------------------------------------------------

  void ParseStatement() {
    cursor_.SkipBlanks();
    if (cursor_.AtEnd()) cursor_.Fail("end of text inside a kernel");
    const char c = cursor_.Peek();
    if (c == '{' || c == '}' || c == ';') {
      cursor_.Advance();
      if (c == '{') OpenScope();
      if (c == '}') scopes_.pop_back();
      return;
    }
    if (cursor_.StartsWith(".loc ") || cursor_.StartsWith(".loc\t")) return ParseLocation();
    const std::string label = cursor_.ReadLabel();
    if (!label.empty()) {
      labels_.Define(scopes_.back().id, label, static_cast<int>(kernel_.code.size()));
      return;
    }
    statement_line_ = cursor_.line();
    const std::string statement = Trim(cursor_.ReadUntil(';'));
    cursor_.Advance();
    if (statement[0] == '.') {
      ParseDirective(statement);
    } else {
      ParseInstruction(statement);
    }
  }

  void OpenScope() { scopes_.push_back({next_scope_id_++, {}}); }

  // ".loc file line column ..." ends at the line break.
  void ParseLocation() {
    const std::string text = cursor_.PeekUntilAny("\n");
    int file = 0;
    std::sscanf(text.c_str(), ".loc %d %d", &file, &source_line_);
    cursor_.SkipLine();
  }

  void ParseDirective(const std::string& text) {
    const size_t name_end = text.find_first_of(" \t");
    const std::string name = text.substr(0, name_end);
    const std::string rest = name_end == std::string::npos ? "" : Trim(text.substr(name_end));
    if (name == ".reg") return DeclareRegisters(rest);
    if (name == ".branchtargets") {
      labels_.AddBranchTable(Split(rest, ','));
    } else if (name != ".pragma") {
      symbols_.Declare(ParseDeclaration(text), cursor_);
    }
  }

  // ".b32 a, b": names for this scope. ".b32 %r<9>" needs nothing: such registers are made at first
  // use.
  void DeclareRegisters(const std::string& text) {
    const std::string names = text.substr(text.find_first_of(" \t"));
    for (const std::string& name : Split(names, ',')) {
      if (name.find('<') == std::string::npos) scopes_.back().registers[name] = NewRegister();
    }
  }

  // --- Instructions -------------------------------------------------------------------

  void ParseInstruction(std::string text) {
    Instruction instruction;
    instruction.ptx_line = statement_line_;
    instruction.source_line = source_line_;
    instruction.text = text;
    if (text[0] == '@') text = ParseGuard(text, &instruction);
    const size_t mnemonic_end = text.find_first_of(" \t");
    std::vector<std::string> parts = Split(text.substr(0, mnemonic_end), '.');
    instruction.name = parts[0];
    instruction.modifiers.assign(parts.begin() + 1, parts.end());
    const std::string operands = mnemonic_end == std::string::npos ? "" : Trim(text.substr(mnemonic_end));
    try {
      DecodeInstruction(operands, &instruction);
    } catch (const EmulationError& error) { MakeUnsupported(&instruction, error.what()); }
    kernel_.code.push_back(std::move(instruction));
  }

  void DecodeInstruction(const std::string& operands, Instruction* instruction) {
    uses_local_symbol_ = false;
    if (instruction->name == "call") {
      ParseCall(operands, instruction);
    } else {
      ParseOperands(operands, instruction);
    }
    Decode(instruction);
    if (instruction->space == Space::kParameter && uses_local_symbol_) { instruction->space = Space::kLocal; }
  }

  // Handles "@p" or "@!p" and returns the rest of the text.
  std::string ParseGuard(const std::string& text, Instruction* instruction) {
    const size_t end = text.find_first_of(" \t");
    std::string guard = text.substr(1, end - 1);
    instruction->predicate_negated = guard[0] == '!';
    if (instruction->predicate_negated) guard.erase(0, 1);
    instruction->predicate = FindOrMakeRegister(guard);
    return Trim(text.substr(end));
  }

  // "(result), name, (a, b)": the name becomes a modifier, the arguments become operands.
  void ParseCall(const std::string& text, Instruction* instruction) {
    for (const std::string& part : Split(text, ',')) {
      if (part[0] != '(') {
        instruction->modifiers.push_back(part);
      } else if (part.find("param") != std::string::npos) {
        ParseOperands(part.substr(1, part.rfind(')') - 1), instruction);
      }
    }
  }

  void ParseOperands(const std::string& text, Instruction* instruction) {
    for (const std::string& each : Split(text, ',')) {
      if (instruction->operand_count == kMaxOperands) cursor_.Fail("too many operands");
      const int position = instruction->operand_count++;
      const Operand operand = ParseOperand(each, instruction);
      instruction->operands[position] = operand;
    }
  }

  Operand ParseOperand(const std::string& text, Instruction* instruction) {
    if (text.empty()) return Operand();
    if (text[0] == '{') return ParseVector(text, instruction);
    if (text[0] == '[') return ParseAddress(text);
    if (text[0] == '!') return NegatedPredicate(text.substr(1), instruction);
    const size_t bar = text.find('|');
    if (bar != std::string::npos) {
      Operand operand = ParseOperand(Trim(text.substr(0, bar)), instruction);
      operand.second = ParseOperand(Trim(text.substr(bar + 1)), instruction).index;
      return operand;
    }
    return ParseScalar(text, instruction);
  }

  Operand ParseVector(const std::string& text, Instruction* instruction) {
    std::vector<Operand> elements;
    for (const std::string& each : Split(text.substr(1, text.rfind('}') - 1), ',')) {
      elements.push_back(ParseOperand(each, instruction));
    }
    Operand operand;
    operand.kind = OperandKind::kVector;
    operand.first_element = static_cast<int16_t>(instruction->elements.size());
    operand.element_count = static_cast<int16_t>(elements.size());
    instruction->elements.insert(instruction->elements.end(), elements.begin(), elements.end());
    return operand;
  }

  // "[base]", "[base+offset]" or "[number]"; the base is a register or a symbol.
  Operand ParseAddress(const std::string& text) {
    const std::string inside = Trim(text.substr(1, text.rfind(']') - 1));
    const size_t plus = inside.find('+', 1);
    uint64_t offset = 0;
    if (plus != std::string::npos && !ParseNumber(Trim(inside.substr(plus + 1)), &offset)) {
      cursor_.Fail("unsupported address " + text);
    }
    Operand operand = ParseScalar(Trim(inside.substr(0, plus)), nullptr);
    if (operand.kind != OperandKind::kValue) cursor_.Fail("unsupported address " + text);
    operand.kind = OperandKind::kAddress;
    operand.offset = static_cast<int64_t>(offset);
    return operand;
  }

  // A number, special register, register, symbol or label.
  Operand ParseScalar(const std::string& text, Instruction* instruction) {
    uint64_t number;
    if (ParseNumber(text, &number)) return Constant(number);
    if (text == "_") return Register(sink_register_);
    if (text == "WARP_SZ") return Constant(kWarpSize);
    const int special = FindSpecialRegister(text);
    if (special >= 0) return SpecialRegister(special, instruction);
    const int known = FindRegister(text);
    if (known >= 0) return Register(known);
    if (const Symbol* symbol = symbols_.Find(text)) {
      uses_local_symbol_ |= symbol->space == Space::kLocal;
      return SymbolAddress(*symbol, 0);
    }
    if (text[0] == '%') return Register(FindOrMakeRegister(text));
    const size_t plus = text.find('+');
    if (plus != std::string::npos && ParseNumber(Trim(text.substr(plus + 1)), &number)) {
      const Symbol* symbol = symbols_.Find(Trim(text.substr(0, plus)));
      if (symbol != nullptr) return SymbolAddress(*symbol, number);
    }
    return labels_.Refer(text, OpenScopes());
  }

  static Operand Register(int index) {
    Operand operand;
    operand.kind = OperandKind::kValue;
    operand.index = index;
    return operand;
  }

  Operand Constant(uint64_t value) {
    const auto [position, is_new] = constants_.try_emplace(value, static_cast<int>(kernel_.constants.size()));
    if (is_new) kernel_.constants.push_back(value);
    return ConstantAt(position->second);
  }

  static Operand ConstantAt(int index) {
    Operand operand = Register(index);
    operand.bank = kConstantBank;
    return operand;
  }

  // The offset of the dynamic shared memory is only known at the launch: such constants are not
  // shared with others and are listed for the launch to patch.
  Operand SymbolAddress(const Symbol& symbol, uint64_t offset) {
    if (!symbol.dynamic_shared) return Constant(symbol.address + offset);
    const int index = static_cast<int>(kernel_.constants.size());
    kernel_.constants.push_back(offset);
    kernel_.dynamic_shared_constants.push_back(index);
    return ConstantAt(index);
  }

  // "mov d, %tid.x" reads the special register itself; elsewhere a copy is made first.
  Operand SpecialRegister(int special, Instruction* user) {
    if (user != nullptr && user->name == "mov") {
      user->name = kReadSpecialName;
      user->mode = static_cast<uint8_t>(special);
      return Register(sink_register_);
    }
    const int copy = NewRegister();
    Instruction instruction = Helper(kReadSpecialName, {Register(copy)});
    instruction.mode = static_cast<uint8_t>(special);
    Emit(std::move(instruction));
    return Register(copy);
  }

  Operand NegatedPredicate(const std::string& text, Instruction* user) {
    const Operand source = ParseOperand(text, user);
    const int copy = NewRegister();
    Instruction instruction = Helper("not", {Register(copy), source});
    instruction.modifiers = {"pred"};
    Emit(std::move(instruction));
    return Register(copy);
  }

  Instruction Helper(const char* name, std::initializer_list<Operand> operands) const {
    Instruction instruction;
    instruction.name = name;
    instruction.text = name;
    instruction.ptx_line = statement_line_;
    instruction.source_line = source_line_;
    for (const Operand& each : operands) instruction.operands[instruction.operand_count++] = each;
    return instruction;
  }

  void Emit(Instruction instruction) {
    Decode(&instruction);
    kernel_.code.push_back(std::move(instruction));
  }

  // --- Names --------------------------------------------------------------------------

  int NewRegister() { return kernel_.register_count++; }

  int FindRegister(const std::string& name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      const auto found = scope->registers.find(name);
      if (found != scope->registers.end()) return found->second;
    }
    return -1;
  }

  int FindOrMakeRegister(const std::string& name) {
    const int found = FindRegister(name);
    return found >= 0 ? found : scopes_[0].registers[name] = NewRegister();
  }

  // Outermost first.
  std::vector<int> OpenScopes() const {
    std::vector<int> ids;
    for (const Scope& scope : scopes_) ids.push_back(scope.id);
    return ids;
  }

  TextCursor& cursor_;
  Kernel& kernel_;
  std::vector<Scope> scopes_;
  int next_scope_id_ = 0;
  int sink_register_ = 0;
  int statement_line_ = 0;
  int source_line_ = 0;
  bool uses_local_symbol_ = false;               // the current instruction
  std::unordered_map<uint64_t, int> constants_;  // value -> index
  SymbolTable symbols_;
  LabelTable labels_;
};

}  // namespace

void ParseKernelBody(TextCursor* cursor, Module* module, Kernel* kernel) {
  KernelParser(cursor, module, kernel).Parse();
}

}  // namespace ptxemu
