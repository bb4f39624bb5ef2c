# SPDX-License-Identifier: MIT
"""Prints what a step of the loop costs on a GPU by the model of cuda/model.cu: nothing here is measured.

    python bench/cuda/model.py [--device H100 A100]

The library chooses between its engines by this model. The formulas stand here a second time, so that they can be
looked at where there is neither nvcc nor a GPU; tests hold both against each other. Forward alone.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import NamedTuple

# Of cuda/model.cu, by its names
FLAG_HOP, LAUNCH = 0.65, 1.3
L2_PORT_BYTES = 64
L2_SHARE = 41700
FETCH_LATENCY, REDUCTION, CELL_LATENCY, CELL_ROUND = 0.12, 0.06, 0.10, 0.03
SHARED_BYTES = 128
CELLS = 256
TILE_ROWS = 8
# Of cuda/persistent: tile.cuh, fragments.cuh, classes.def
WEIGHT_REGISTERS, WARPS, CHUNK, THREADS = 128, 8, 32, 256
CLASSES = [(64, 32), (256, 32), (512, 32), (1024, 32)]


class Device(NamedTuple):
    """Figures of a GPU."""

    multiprocessors: int
    clock: float  # cycles a microsecond
    memory: float  # bytes a microsecond
    l2: float  # bytes
    shared: int  # bytes that a block may have


# From the data sheets; the clock of H100 is what it keeps up
DEVICES = {
    "H100": Device(132, 1755, 3.0e6, 50e6, 227 * 1024),
    "A100": Device(108, 1410, 1.555e6, 40e6, 163 * 1024),
}


class Arithmetic(NamedTuple):
    """How products multiply."""

    multiply_adds: float  # a cycle of a multiprocessor
    bytes: int  # of an operand
    words: int  # registers of a row and chunk
    padding: int  # elements after a row in shared memory


ARITHMETICS = {
    "bfloat16": Arithmetic(2048 * 0.62, 2, 4, 32),
    "float32": Arithmetic(128 * 0.9, 4, 8, 0),
}


class Cell(NamedTuple):
    """What the loop needs to know of a cell."""

    gates: int
    states: int


KINDS = {"LSTM": Cell(4, 2), "GRU": Cell(3, 1)}
HIDDEN = (128, 256, 512, 768, 1024, 1536, 2048)
BATCHES = (1, 16, 64, 128)


class Cost(NamedTuple):
    """Of a step."""

    microseconds: float
    limit: str


class Shape(NamedTuple):
    """How a block divides its product: units of a lane, parts of K, chunks of a part."""

    units: int
    split: int
    chunks: int

    @property
    def block_units(self) -> int:
        """Units that a block owns."""
        return WARPS // self.split * 8 * self.units


def shape_of(units: int, rows_per_unit: int, K: int, words: int, most_units: int) -> Shape | None:
    """The first division that keeps the weights in registers; None where there is none."""
    split = 2 * units
    while split <= WARPS:
        shape = Shape(units, split, math.ceil(K / (split * CHUNK)))
        if (
            units * rows_per_unit * words * shape.chunks <= WEIGHT_REGISTERS
            and shape.block_units <= most_units
        ):
            return shape
        split *= 2
    return None


def forward_shape(cell: Cell, H: int, words: int) -> Shape | None:
    """That of the first class of sizes which is large enough and has kernels in both directions."""
    for most_H, most_units in CLASSES:
        forward = shape_of(2 if cell.gates % 2 else 1, cell.gates, most_H, words, most_units)
        backward = [shape_of(units, 1, cell.gates * most_H, words, most_units) for units in (4, 2)]
        if most_H >= H and forward and any(backward):
            return forward
    return None


def shared_bytes(cell: Cell, arithmetic: Arithmetic, shape: Shape) -> tuple[int, int]:
    """Shared memory of a block of forward: fixed, and for each tile that it keeps."""
    ld = shape.split * shape.chunks * CHUNK + arithmetic.padding
    rows, sums = TILE_ROWS * ld * arithmetic.bytes, WARPS * cell.gates * shape.units * 2 * 32 * 4
    cell_slice, pre = TILE_ROWS * shape.block_units * arithmetic.bytes, 2 * cell.gates * THREADS * 4
    return rows + sums + cell_slice + pre, cell.states * THREADS * 4 + 2 * TILE_ROWS * 8


def groups_of(device: Device, tiles: int, blocks: int, fixed: int, kept: int) -> int:
    """Groups of blocks that run at a time, one block a multiprocessor; 0: not even one."""
    together, each = device.multiprocessors // blocks, 1
    while together and each <= tiles and fixed + each * kept <= device.shared:
        needed = math.ceil(tiles / together)
        if needed <= each:
            return math.ceil(tiles / each)
        each = needed
    return 0


def _cost(fixed: float, what: str, into: float, into_words: str, compute: float, cell: float) -> Cost:
    overlapped = max(into, compute) + 0.25 * min(into, compute)
    limit = what if fixed >= overlapped else into_words if into >= compute else "multiply-adds"
    return Cost(fixed + overlapped + cell, limit)


def persistent_cost(
    device: Device, B: int, H: int, gates: int, arithmetic: Arithmetic, blocks: int, groups: int
) -> Cost:
    """All steps in one launch."""
    rows = max(1.0, math.ceil(B / TILE_ROWS) / max(groups, 1)) * TILE_ROWS
    size = rows * H * arithmetic.bytes
    multiply = rows * gates * H * H / blocks / arithmetic.multiply_adds / device.clock
    read = 2 * size / SHARED_BYTES / device.clock
    fetch = max(
        size / L2_PORT_BYTES / device.clock, size * blocks * groups / (L2_SHARE * device.multiprocessors)
    )
    cell = CELL_LATENCY + CELL_ROUND * (int(rows * H / blocks / CELLS) + 1)
    return _cost(
        FLAG_HOP,
        "synchronisation",
        fetch + FETCH_LATENCY,
        "broadcast of the state",
        max(multiply, read) + REDUCTION,
        cell,
    )


def streaming_cost(device: Device, B: int, H: int, gates: int, arithmetic: Arithmetic) -> Cost:
    """A launch a step."""
    weights, l2 = gates * H * H * arithmetic.bytes, L2_SHARE * device.multiprocessors
    read = weights / (l2 if weights < device.l2 else device.memory)
    blocks = min(device.multiprocessors, gates * H / 64 + 1)
    state = B * H * arithmetic.bytes * blocks / l2
    multiply = B * gates * H * H / arithmetic.multiply_adds / device.clock / blocks
    words = "reading weights" if read >= state else "broadcast of the state"
    return _cost(LAUNCH, "launches", max(read, state), words, multiply, 2 * CELL_LATENCY)


def persistent(device: Device, B: int, H: int, cell: Cell, arithmetic: Arithmetic) -> Cost | None:
    """As the library would divide the call; None where it cannot run so."""
    shape = forward_shape(cell, H, arithmetic.words)
    if not shape:
        return None
    blocks = math.ceil(H / shape.block_units)
    groups = groups_of(device, math.ceil(B / TILE_ROWS), blocks, *shared_bytes(cell, arithmetic, shape))
    return persistent_cost(device, B, H, cell.gates, arithmetic, blocks, groups) if groups else None


def _entry(cost: Cost | None) -> str:
    return f"{cost.microseconds:.2f} ({cost.limit})" if cost else "-"


def table(name: str) -> str:
    """Markdown for one device: a row for each cell, arithmetic, B and H."""
    device = DEVICES[name]
    header = [
        "cell",
        "products",
        "B",
        "H",
        "persistent, us/step, modelled",
        "streaming, us/step, modelled",
    ]
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for word, cell in KINDS.items():
        for dtype, arithmetic in ARITHMETICS.items():
            for B in BATCHES:
                for H in HIDDEN:
                    costs = (
                        persistent(device, B, H, cell, arithmetic),
                        streaming_cost(device, B, H, cell.gates, arithmetic),
                    )
                    lines.append(
                        f"| {word} | {dtype} | {B} | {H} | {' | '.join(_entry(cost) for cost in costs)} |"
                    )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", nargs="+", choices=list(DEVICES), default=list(DEVICES))
    for name in parser.parse_args(argv).device:
        device = DEVICES[name]
        print(f"\n## {name}: MODELLED, not measured\n")
        print(
            f"A step of the loop, forward: {device.multiprocessors} multiprocessors, {device.clock:g} cycles/us, "
            f"{device.memory / 1e6:g} TB/s, {device.l2 / 1e6:g} MB of L2. In brackets what most of it is.\n"
        )
        print(table(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
