// SPDX-License-Identifier: MIT
// Settings of the emulator, all from environment variables (see README.md).

#ifndef PTXEMU_OPTIONS_H_
#define PTXEMU_OPTIONS_H_

#include <cstdint>

namespace ptxemu {

struct Options {
  uint64_t seed = 1;                       // PTXEMU_SEED
  int resident_blocks = 132;               // PTXEMU_RESIDENT: blocks on the device at a time
  uint64_t max_steps = 20'000'000'000ull;  // PTXEMU_MAXSTEPS: instructions in a launch
  bool check_races = true;                 // PTXEMU_RACE
  bool weak_memory = false;                // PTXEMU_WEAK
  bool abort_on_error = false;             // PTXEMU_ABORT
  int verbose = 0;                         // PTXEMU_VERBOSE
  int compute_capability = 80;             // PTXEMU_CC
  int ptx_architecture = 0;                // PTXEMU_ARCH: 0 takes the newest PTX in the program
  int device_count = 1;                    // PTXEMU_DEVICES
  bool asynchronous = true;          // PTXEMU_ASYNC: run stream work late, in random legal order
  const char* statistics = nullptr;  // PTXEMU_STATS: file for JSON lines, "-" for stderr

  static Options FromEnvironment();
};

}  // namespace ptxemu

#endif  // PTXEMU_OPTIONS_H_
