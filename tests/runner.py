# SPDX-License-Identifier: MIT
"""Runs a case on a net of a target, and holds the result against the reference."""

import functools

import numpy as np
from fastrnn.layers import CELLS as CLASSES
from shapes import make_case
from targets import using
from tolerance import assert_close, assert_same_bits


def build(case, target, dtype, **options):
    """A net of the target with the parameters of the case."""
    with using(target):
        net = CLASSES[case.cell](
            case.I,
            case.H,
            case.num_layers,
            bidirectional=case.bidirectional,
            bias=case.bias,
            dtype=dtype,
            **options,
        )
    assert net.isa == target
    net.load_state_dict({name: value.astype(net.dtype) for name, value in case.parameters.items()})
    return net


def as_state(arrays, dtype):
    """Copies in the form in which layers take states: an array, or a tuple of two."""
    arrays = tuple(np.array(a, dtype, order="C") for a in arrays)
    return arrays if len(arrays) > 1 else arrays[0]


def parts(state, name="state"):
    """A state as a dict of arrays."""
    return {f"{name}{k}": s for k, s in enumerate(state if isinstance(state, tuple) else (state,))}


def forward(net, case, *, x=None, call=None, **changed):
    """y and the final states. call: net (inference) unless given; x and masks replace those of the case."""
    x = case.x.astype(net.dtype) if x is None else x
    options = {**case.masks, **changed}
    result = (net if call is None else call)(x, as_state(case.state, net.dtype), **options)
    return {"y": result[0], **parts(result[1])}


def backward(net, case, *, x=None, **changed):
    """y, the final states and all gradients, by forward in training mode and backward."""
    x = case.x.astype(net.dtype) if x is None else x
    options = {**case.masks, **changed}
    y, state, tape = net.forward(x, as_state(case.state, net.dtype), training=True, **options)
    grads = net.backward(tape, case.dy.astype(net.dtype), as_state(case.dstate, net.dtype))
    return {
        "y": y,
        **parts(state),
        "dx": grads.x,
        **parts(grads.state, "dstate"),
        **{"d" + name: value for name, value in grads.params.items()},
    }


@functools.lru_cache(maxsize=2048)
def trusted(cell, T, B, I, H, **options):  # noqa: E741
    """A case and all its results from the reference in float64."""
    case = make_case(cell, T, B, I, H, **options)
    return case, backward(build(case, "reference", "float64"), case)


def is_gradient(name):
    return name.startswith("d")


def compare(got, want, case, dtype, context=""):
    """Every part of got against want, within the tolerance."""
    assert got.keys() == want.keys(), f"{sorted(got)} but expected {sorted(want)} {context}"
    for name in want:
        assert_close(
            got[name],
            want[name],
            **case.sizes,
            dtype=dtype,
            backward=is_gradient(name),
            name=f"{name} {context} ({case})",
        )


def compare_bits(got, want, context=""):
    """Every part of got has the bits of want."""
    assert got.keys() == want.keys(), f"{sorted(got)} but expected {sorted(want)} {context}"
    for name in want:
        assert_same_bits(got[name], want[name], name=f"{name} {context}")
