# SPDX-License-Identifier: MIT
"""Random problems for clip_loop.py with any direction a layer, and the same on a net."""

import fastrnn
import numpy as np
import oracle
from clip_loop import DIRECTIONS, Problem
from fastrnn.layers import CELLS
from runner import as_state, parts
from shapes import make_lengths
from targets import using


def make_problem(cell, directions, T, B, I, H, *, seed, lengths=False, reset=False, bias=True, steep=1.0):  # noqa: E741
    """steep: how much larger than usual the recurrent weights are."""
    random = np.random.default_rng([seed, T, B, I, H])

    def uniform(*shape, bound=1.7):
        return random.uniform(-bound, bound, shape).astype(np.float32).astype(np.float64)

    shapes = build(cell, directions, I, H, fastrnn.active(), "float64", bias=bias).parameters()
    parameters = {}
    for name, a in shapes.items():
        bound = 0.9 * a.shape[1] ** -0.5 if a.ndim == 2 else 0.5
        parameters[name] = uniform(*a.shape, bound=bound * (steep if "weight_hh" in name else 1))
    count = sum(len(DIRECTIONS[word]) for word in directions)
    facts = oracle.CELLS[cell]
    widths = [facts.width(q, H) for q in range(facts.states)]
    return Problem(
        cell=cell,
        directions=tuple(directions),
        parameters=parameters,
        x=uniform(T, B, I),
        state=tuple(uniform(count, B, width, bound=1.0) for width in widths),
        dy=uniform(T, B, widths[0] * len(DIRECTIONS[directions[-1]])),
        dstate=tuple(uniform(count, B, width) for width in widths),
        lengths=make_lengths(random, T, B) if lengths else np.full(B, T),
        reset=random.random((T, B)) < 0.3 if reset else np.zeros((T, B), bool),
    )


def build(cell, directions, I, H, target, dtype, **options):  # noqa: E741
    with using(target):
        return CELLS[cell](I, H, len(directions), direction=list(directions), dtype=dtype, **options)


def net_of(problem, target, dtype):
    """A net of the target with the parameters of the problem."""
    bias = any(name.startswith("bias") for name in problem.parameters)
    H = problem.state[-1].shape[2]
    net = build(problem.cell, problem.directions, problem.x.shape[2], H, target, dtype, bias=bias)
    net.load_state_dict({name: a.astype(net.dtype) for name, a in problem.parameters.items()})
    return net


def run(net, problem, clip=None, flat=None, trace=False, **options):
    """The results of clip_loop.backward, of the net; options go to forward."""
    lengths = None if (problem.lengths == len(problem.x)).all() else problem.lengths
    options |= {"lengths": lengths, "reset": problem.reset if problem.reset.any() else None}
    y, after, tape = net.forward(problem.x.astype(net.dtype), as_state(problem.state, net.dtype), **options)
    flat = None if flat is None else flat.astype(net.dtype)
    dy, dstate = problem.dy.astype(net.dtype), as_state(problem.dstate, net.dtype)
    grads = net.backward(tape, dy, dstate, flat=flat, clip=clip, trace=trace)
    values = {"y": y, "dx": grads.x, **parts(after), **parts(grads.state, "dstate"), "dflat": grads.flat}
    return values, grads.stats.to_dict()


def sizes(problem):
    """What the tolerance depends on."""
    H, layers = problem.state[-1].shape[2], len(problem.directions)
    inputs = max(problem.x.shape[2], 2 * H if layers > 1 else 0)
    magnified = oracle.CELLS[problem.cell].magnified
    return {"steps": len(problem.x) * layers, "inputs": inputs, "hidden": H, "magnified": magnified}
