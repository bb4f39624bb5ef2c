// SPDX-License-Identifier: MIT
// Every cell of cells.def.
#pragma once
#include "elman.h"
#include "gru.h"
#include "lstm.h"
