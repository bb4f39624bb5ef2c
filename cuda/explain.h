// SPDX-License-Identifier: MIT
// The choice of plan.h in words and numbers, for whoever asks before a call.
#pragma once
#include <stdio.h>
#include <utility>
#include "plan.h"
#include "status.h"
FR_NAMESPACE_BEGIN
template <class Cell, class Math>
Status explain_plan(Dims d, bool backward, bool control, PlanReport* to) {
  using P = Plan<Cell, Math>;
  const StepControl<typename Math::Real> some = {};
  const StepControl<typename Math::Real>* const controlled = control ? &some : nullptr;
  *to = {};
  snprintf(to->engine, sizeof to->engine, "streaming");
  if (!d.R) {
    snprintf(to->why_not, sizeof to->why_not, "the call has no steps or no rows");
    return 0;
  }
  DeviceSpeed device;
  FR_TRY(device_speed(&device));
  StepCost mine = P::step(device, d, Engine::kStreaming, backward), other = {};
  const char* const words = P::why_not(d, backward, controlled);  // until the next question
  if (words) snprintf(to->why_not, sizeof to->why_not, "%s", words);
  if (!P::why_never(d, backward, controlled)) {
    other = P::step(device, d, Engine::kPersistent, backward);
    if (!words) {
      std::swap(mine, other);
      const PersistentSplit split = P::persistent()->split(d, backward);
      to->blocks = split.blocks, to->groups = split.groups;
      snprintf(to->engine, sizeof to->engine, "persistent");
      if (other.microseconds < mine.microseconds)
        snprintf(to->why_not, sizeof to->why_not, "FASTRNN_CUDA_ENGINE=persistent");
    }
  }
  to->microseconds = mine.microseconds, to->other_microseconds = other.microseconds;
  snprintf(to->limit, sizeof to->limit, "%s", mine.limit);
  return 0;
}
FR_NAMESPACE_END
