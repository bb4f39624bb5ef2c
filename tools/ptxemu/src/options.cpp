// SPDX-License-Identifier: MIT
// Reads the settings of the emulator from the environment.

#include "options.h"

#include <cstdlib>

namespace ptxemu {
namespace {

uint64_t Number(const char* name, uint64_t fallback) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 0) : fallback;
}

}  // namespace

Options Options::FromEnvironment() {
  Options o;
  o.seed = Number("PTXEMU_SEED", o.seed);
  o.resident_blocks = static_cast<int>(Number("PTXEMU_RESIDENT", o.resident_blocks));
  if (o.resident_blocks < 1) o.resident_blocks = 1;
  o.max_steps = Number("PTXEMU_MAXSTEPS", o.max_steps);
  o.check_races = Number("PTXEMU_RACE", o.check_races) != 0;
  o.weak_memory = Number("PTXEMU_WEAK", o.weak_memory) != 0;
  o.abort_on_error = Number("PTXEMU_ABORT", o.abort_on_error) != 0;
  o.verbose = static_cast<int>(Number("PTXEMU_VERBOSE", o.verbose));
  o.compute_capability = static_cast<int>(Number("PTXEMU_CC", o.compute_capability));
  o.ptx_architecture = static_cast<int>(Number("PTXEMU_ARCH", o.ptx_architecture));
  o.device_count = static_cast<int>(Number("PTXEMU_DEVICES", o.device_count));
  o.asynchronous = Number("PTXEMU_ASYNC", o.asynchronous) != 0;
  o.statistics = std::getenv("PTXEMU_STATS");
  return o;
}

}  // namespace ptxemu
