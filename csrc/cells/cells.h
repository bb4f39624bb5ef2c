// SPDX-License-Identifier: MIT
// Every cell of cells.def.
#pragma once
#define FR_CELL(name, type)
#define FR_STAGED_CELL(name, type)
#include "cells.def"
#undef FR_CELL
#undef FR_STAGED_CELL
