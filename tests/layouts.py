# SPDX-License-Identifier: MIT
"""Ways an array may lie in memory. Each takes a contiguous array and returns an equal one."""

import numpy as np


def strided(a):
    room = np.full([2 * n + 1 for n in a.shape], 99).astype(a.dtype)  # 99 is wrong wherever it is read
    view = room[tuple(slice(1, 2 * n + 1, 2) for n in a.shape)]
    view[...] = a
    return view


def misaligned_by(byte_count):
    def lay(a):
        room = np.zeros(a.nbytes + byte_count, np.uint8)
        view = room[byte_count:].view(a.dtype).reshape(a.shape)
        view[...] = a
        return view

    return lay


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def negative(a):
    back = (slice(None, None, -1),) * a.ndim
    return a[back].copy()[back]


def transposed(a):
    return np.ascontiguousarray(np.swapaxes(a, 0, -1)).swapaxes(0, -1)


def swapped_bytes(a):
    return a.astype(a.dtype.newbyteorder())


LAYOUTS = {
    "strided": strided,
    "misaligned by an element": lambda a: misaligned_by(a.itemsize)(a),
    "misaligned by a byte": misaligned_by(1),
    "read-only": read_only,
    "Fortran order": np.asfortranarray,
    "negative strides": negative,
    "transposed": transposed,
    "foreign byte order": swapped_bytes,
}
