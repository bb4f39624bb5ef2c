# SPDX-License-Identifier: MIT
"""PyTorch, eager: torch.nn.LSTM, GRU and RNN; no gradients recorded in inference, the gradients of training fresh.

A stream takes one step of the layer or of torch.nn.LSTMCell and its like, whichever was faster when it was set up.
Resets inside a sequence cut it: one call of the layer for each piece between two steps at which any row begins anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import cycle, pairwise
from typing import Any

import torch
from cases import Case

from . import CannotRun, Work

LAYERS = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn_tanh": torch.nn.RNN}
CELLS = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell, "rnn_tanh": torch.nn.RNNCell}
TRIALS = 50  # calls by which the form of a stream is chosen


def version() -> str:
    """Version of torch."""
    return str(torch.__version__)


def set_threads(n: int) -> None:
    """Threads of an operation."""
    torch.set_num_threads(n)


def make(case: Case, data: dict[str, Any]) -> Work:
    """See `peers`."""
    if case.peepholes:
        raise CannotRun("torch.nn has no peepholes")
    layer = LAYERS[case.cell](
        case.I, case.H, case.layers, bidirectional=case.bidirectional, batch_first=case.strided
    )
    for name, parameter in layer.named_parameters():
        parameter.data = torch.from_numpy(data[name])
    x, dy = torch.from_numpy(data["x"]), torch.from_numpy(data["dy"])
    pieces = _pieces(data["reset"])
    if case.mode == "train":
        x.requires_grad_()
        return Work(lambda: _train(layer, x, dy, pieces), _gradients)
    if case.mode == "step":
        return _fastest([_layer_stream(layer, x), _cell_stream(case, data, x)])
    infer = torch.inference_mode()(lambda: _forward(layer, x, pieces))
    return Work(infer, _y)


def _pieces(reset: Any) -> list[tuple[slice, Any]]:
    """Steps without resets inside, and (1,B,1) 0 where a row begins anew, else 1; none if there are no resets."""
    if reset is None:
        return []
    starts = [0, *(t for t in range(1, len(reset)) if reset[t].any()), len(reset)]
    keep = torch.from_numpy(~reset).float()
    return [(slice(a, b), keep[a][None, :, None]) for a, b in pairwise(starts)]


def _forward(layer: Any, x: Any, pieces: list[tuple[slice, Any]]) -> Any:
    if not pieces:
        return layer(x)[0]
    state, results = None, []
    for steps, keep in pieces:
        if state is not None:
            state = tuple(s * keep for s in state) if isinstance(state, tuple) else state * keep
        y, state = layer(x[steps], state)
        results.append(y)
    return torch.cat(results)


def _train(layer: Any, x: Any, dy: Any, pieces: list[tuple[slice, Any]]) -> Any:
    layer.zero_grad()
    x.grad = None
    y = _forward(layer, x, pieces)
    y.backward(dy)
    return y, x, layer


def _gradients(result: Any) -> dict[str, Any]:
    y, x, layer = result
    parameters = {name: parameter.grad.numpy() for name, parameter in layer.named_parameters()}
    return {"y": y.detach().numpy(), "x": x.grad.numpy(), **parameters}


def _y(y: Any) -> dict[str, Any]:
    return {"y": y.numpy()}


# ---- streams ----


def _layer_stream(layer: Any, x: Any) -> Callable[[], Work]:
    def start() -> Work:
        inputs, state = cycle(list(x[:, None])), None

        @torch.inference_mode()
        def run() -> Any:
            nonlocal state
            y, state = layer(next(inputs), state)
            return y

        return Work(run, lambda y: {"y": y[0].numpy()})

    return start


def _cell_stream(case: Case, data: dict[str, Any], x: Any) -> Callable[[], Work]:
    cells = [CELLS[case.cell](width, case.H) for _, width in case.parts]
    for cell, (suffix, _) in zip(cells, case.parts):
        for name, parameter in cell.named_parameters():
            parameter.data = torch.from_numpy(data[name + suffix])

    def start() -> Work:
        inputs, several = cycle(list(x)), case.cell == "lstm"
        states: list[Any] = [None] * len(cells)

        @torch.inference_mode()
        def run() -> Any:
            y = next(inputs)
            for k, cell in enumerate(cells):
                states[k] = cell(y, states[k])
                y = states[k][0] if several else states[k]
            return y

        return Work(run, _y)

    return start


def _fastest(streams: list[Callable[[], Work]]) -> Work:
    def seconds(start: Callable[[], Work]) -> float:
        run = start().run
        for _ in range(TRIALS):
            run()
        begin = time.perf_counter()
        for _ in range(TRIALS):
            run()
        return time.perf_counter() - begin

    return min(streams, key=seconds)()
