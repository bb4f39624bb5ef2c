# SPDX-License-Identifier: MIT
"""Models in PyTorch, written from the equations one sequence at a time: no batch, no padding, gradients by autograd.

What all topologies need: every cell as a function of one step, layers of both directions, inputs, losses, and the
comparison of a model of ours with such a one. It knows of the package only the names and shapes of parameters.
"""

import numpy as np
import torch
from torch.nn import functional

MODULES = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "lstm_projected": torch.nn.LSTM}


def affine(w, part, a):
    z = a @ w[f"weight_{part}"].T
    return z + w[f"bias_{part}"] if f"bias_{part}" in w else z


def normed(w, part, a):
    z = a @ w[f"weight_{part}"].T
    return functional.layer_norm(z, z.shape, w[f"norm_{part}"], w.get(f"bias_{part}"))


def elman(nonlinearity):
    return lambda w, x, h: (nonlinearity(affine(w, "ih", x) + affine(w, "hh", h)),)


def independent(nonlinearity):
    def step(w, x, h):
        return (nonlinearity(affine(w, "ih", x) + w.get("bias_hh", 0) + w["weight_hh"] * h),)

    return step


def gru(w, x, h, affine=affine):
    r_x, z_x, n_x = affine(w, "ih", x).chunk(3)
    r_h, z_h, n_h = affine(w, "hh", h).chunk(3)
    z = torch.sigmoid(z_x + z_h)
    return ((1 - z) * torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h) + z * h,)


def gru_reset_before(w, x, h):
    r_x, z_x, n_x = affine(w, "ih", x).chunk(3)
    r_h, z_h, _ = affine(w, "hh", h).chunk(3)
    r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
    n_h = affine(w, "hh", r * h).chunk(3)[2]
    return ((1 - z) * torch.tanh(n_x + n_h) + z * h,)


def lstm(w, x, h, c, affine=affine):
    i, f, g, o = (affine(w, "ih", x) + affine(w, "hh", h)).chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    seen = c
    if "norm_cell" in w:
        seen = functional.layer_norm(c, c.shape, w["norm_cell"], w["norm_cell_bias"])
    h = torch.sigmoid(o) * torch.tanh(seen)
    return (h @ w["weight_hr"].T if "weight_hr" in w else h), c


def lstm_peephole(w, x, h, c):
    p_i, p_f, p_o = w["weight_ch"].chunk(3)
    i, f, g, o = (affine(w, "ih", x) + affine(w, "hh", h)).chunk(4)
    new = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
    return torch.sigmoid(o + p_o * new) * torch.tanh(new), new


STEPS = {
    "rnn_tanh": elman(torch.tanh),
    "rnn_relu": elman(torch.relu),
    "gru": gru,
    "lstm": lstm,
    "lstm_peephole": lstm_peephole,
    "indrnn_tanh": independent(torch.tanh),
    "indrnn_relu": independent(torch.relu),
    "gru_reset_before": gru_reset_before,
    "gru_layer_norm": lambda w, x, h: gru(w, x, h, normed),
    "lstm_projected": lstm,
    "lstm_layer_norm": lambda w, x, h, c: lstm(w, x, h, c, normed),
}


def zeros(cell, hidden):
    """The state before the first step."""
    width = hidden // 2 if cell == "lstm_projected" else hidden
    h = torch.zeros(width, dtype=torch.float64)
    return (h, torch.zeros(hidden, dtype=torch.float64)) if cell.startswith("lstm") else (h,)


def layers(cell, hidden, weights, x, directions, start=None):
    """Recurrent layers over one sequence.

    weights: tensors by torch's names; x (T,I); directions: one of "forward", "reverse", "both" for each layer; start:
    states in the order of the result. Returns y (T,P) of the last layer, and a list with the final state, a tuple, of
    each layer and direction.
    """
    finals = []
    for number, word in enumerate(directions):
        sides = []
        for reverse in {"forward": (False,), "reverse": (True,), "both": (False, True)}[word]:
            suffix = f"_l{number}" + "_reverse" * reverse
            w = {n.removesuffix(suffix): t for n, t in weights.items() if n.endswith(suffix)}
            state = zeros(cell, hidden) if start is None else start[len(finals)]
            steps = []
            for row in reversed(x) if reverse else x:
                state = STEPS[cell](w, row, *state)
                steps.append(state[0])
            sides.append(torch.stack(steps[::-1] if reverse else steps))
            finals.append(state)
        x = torch.cat(sides, dim=1)
    return x, finals


def directions(arguments):
    given = arguments.get("direction", "both" if arguments.get("bidirectional") else "forward")
    return (given,) * arguments["num_layers"] if isinstance(given, str) else given


def of_part(tensors, part):
    """The tensors of one part of a model, without its name."""
    return {name.removeprefix(part + "."): t for name, t in tensors.items() if name.startswith(part + ".")}


def rows(tensors, x):
    """What the first layer reads of one sequence: ids, features, or a pair of both."""
    if isinstance(x, tuple):
        return torch.cat([rows(tensors, each) for each in x], dim=1)
    given = torch.tensor(np.asarray(x))
    return given if given.is_floating_point() else tensors["embedding.weight"][given]


def one_by_one(x):
    """The sequences of x."""
    return zip(*x) if isinstance(x, tuple) else iter(x)


def loss(activation, options=None):
    """torch's own, with options as of CrossEntropyLoss or BCEWithLogitsLoss."""
    options = dict(options or {})
    for name in ("weight", "pos_weight"):
        if name in options:
            options[name] = torch.tensor(options[name], dtype=torch.float64)
    kinds = {"softmax": torch.nn.CrossEntropyLoss, "sigmoid": torch.nn.BCEWithLogitsLoss}
    return kinds.get(activation, torch.nn.MSELoss)(**options)


def tensors_of(model):
    """Copies of the model's parameters by name, which gather gradients."""
    return {name: torch.tensor(a, requires_grad=True) for name, a in model.state_dict().items()}


def worst_error(model, x, y, loss_of):
    """The largest difference of the loss and of all gradients; `loss_of(tensors)` is the other model's loss."""
    tensors = tensors_of(model)
    value = loss_of(tensors)
    value.backward()
    mine, gradients = model.gradients(x, y)
    assert gradients.keys() == tensors.keys()
    errors = [abs(mine - value.item())]
    for name, tensor in tensors.items():
        grad = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        assert gradients[name].shape == grad.shape
        errors.append(np.abs(gradients[name] - grad.numpy()).max(initial=0))
    return float(max(errors))
