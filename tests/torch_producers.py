# SPDX-License-Identifier: MIT
"""OneToN and NToM in PyTorch, from the equations, one sequence and one step at a time, against ours."""

import fastrnn
import numpy as np
import torch
import torch_models as theirs

VOCABULARY, FEATURES, SIZE, HIDDEN, K, END = 9, 2, 4, 6, 5, 1
EMBEDDING = fastrnn.Embedding(VOCABULARY, SIZE)
INPUTS = {"ids": EMBEDDING, "features": FEATURES, "both": (EMBEDDING, FEATURES)}
SOURCE, TARGET = [4, 1, 3, 6, 2], [3, 5, 0, 2, 4]
DOUBLE = torch.float64


def make(inputs, activation, lengths=SOURCE):
    """Sequences to read, and others to produce; without an end one of no step teaches nothing."""
    rng = np.random.default_rng(2)
    ids = [rng.integers(0, VOCABULARY, n) for n in lengths]
    features = [rng.standard_normal((n, FEATURES)) for n in lengths]
    x = {"ids": ids, "features": features, "both": (ids, features)}[inputs]
    if activation == "softmax":
        return x, [rng.choice([k for k in range(K) if k != END], n) for n in TARGET]
    return x, [rng.uniform(0, 1, (n, K)) for n in TARGET]


def seeds(x):
    """The first step of each sequence."""
    if isinstance(x, tuple):
        return tuple(map(seeds, x))
    return np.stack([sequence[0] for sequence in x])


def look(w, query, memory):
    """The weights of a query: dot product, general, or additive where there is a v."""
    if "v" in w:
        scores = torch.tanh(w["weight_q"] @ query + memory @ w["weight_m"].T) @ w["v"]
    else:
        scores = (memory @ w["weight_a"].T if "weight_a" in w else memory) @ query
    return torch.softmax(scores, dim=0)


def decode(cell, hidden, part, tensors, y, states, constant, steps, end, attention=None, looked=None):
    """z (T,K) of one sequence and its targets, the true y fed back. attention: the memory, and whether h~ is fed.

    looked: a list that gets the weights of each step.
    """
    weights = theirs.of_part(tensors, part)
    layers = 1 + max(int(name.split("_l")[1][0]) for name in weights if "_l" in name)
    y = torch.tensor(np.append(y, end) if end is not None else y)
    states = list(states) if states else [theirs.zeros(cell, hidden)] * layers
    z = []
    looks, feeds = theirs.of_part(tensors, "attention"), attention is not None and attention[1]
    out = torch.zeros_like(states[-1][0])
    for t in range(len(y)):
        if "feedback.weight" in tensors:
            row = tensors["feedback.weight"][y[t - 1] if t else K]
        elif weights["weight_ih_l0"].shape[1]:
            row = y[t - 1] if t else torch.zeros(K, dtype=DOUBLE)
        else:
            row = torch.zeros(0, dtype=DOUBLE)
        if "v" in looks:
            weights_t = look(looks, states[-1][0], attention[0])
            seen = weights_t @ attention[0]
            row = torch.cat([row, seen])
        elif feeds:
            row = torch.cat([row, out])
        for layer in range(layers):
            own = {n.removesuffix(f"_l{layer}"): w for n, w in weights.items() if n.endswith(f"_l{layer}")}
            if layer == 0 and constant is not None:  # [W_ih | W_c] [x ; c]
                c, w_c = constant
                c = c if t < steps else torch.zeros_like(c)
                row = torch.cat([row, c])
                own["weight_ih"] = torch.cat([own["weight_ih"], w_c], dim=1)
            states[layer] = theirs.STEPS[cell](own, row, *states[layer])
            row = states[layer][0]
        if attention is not None:
            if "v" not in looks:
                weights_t = look(looks, row, attention[0])
                seen = weights_t @ attention[0]
            if looked is not None:
                looked.append(weights_t)
            row = out = torch.tanh(looks["weight_c"] @ torch.cat([seen, row]) + looks["bias_c"])
        z.append(row @ tensors["readout.weight"].T + tensors["readout.bias"])
    return torch.stack(z) if z else torch.zeros(0, K, dtype=DOUBLE), y


def loss_over(activation, pairs, options=()):
    z, y = (torch.cat(parts) for parts in zip(*pairs))
    return theirs.loss(activation, options)(z, y)


def one_to_n(cell="lstm", inputs="features", activation="softmax", end=END, **options):
    end = end if activation == "softmax" else None
    options = {"seed": 1, "dtype": "float64", "feedback": True, **options}
    model = fastrnn.OneToN(cell, INPUTS[inputs], HIDDEN, K, activation=activation, end=end, **options)
    x, y = make(inputs, activation)
    steps = 1 if model.arguments["feed"] == "first" else 99

    def loss_of(tensors):
        pairs = []
        for sequence, target in zip(theirs.one_by_one(x), y):
            seed = theirs.rows(tensors, sequence)[0]
            constant = (seed, tensors["seed.weight"])
            pairs.append(decode(cell, HIDDEN, "rnn", tensors, target, None, constant, steps, end))
        return loss_over(activation, pairs)

    return theirs.worst_error(model, seeds(x), y, loss_of)


def context(arguments, tensors, h, finals):
    sides = 2 if theirs.directions(arguments)[-1] == "both" else 1
    last = torch.cat([state[0] for state in finals[-sides:]])
    form, w = arguments["context"], theirs.of_part(tensors, "context")
    if form == "sequence":
        w = theirs.of_part(tensors, "pool")
        scores = torch.tanh(h @ w["weight"].T + w["bias"]) @ w["vector"]
        return torch.softmax(scores, dim=0) @ h
    if form == "last":
        return last
    seen = last if form == "transform" else torch.cat([h[0], h[-1]])
    return torch.tanh(w["weight"] @ seen + w["bias"])


def initial(arguments, tensors, c, finals):
    """The states of the decoder's layers, as many as it has."""
    cell, hidden, layers = (arguments["decoder_" + name] for name in ("cell", "hidden", "layers"))
    if arguments["context_to"] == "input":
        return None
    if "bridge.weight" not in tensors:
        if arguments["initial"] == "h":
            return [(h, torch.zeros_like(c)) for h, c in finals]
        return finals
    z = tensors["bridge.weight"] @ c + tensors["bridge.bias"]
    zero = theirs.zeros(cell, hidden)
    widths = [len(part) for part in zero][: 1 if arguments["initial"] == "h" else None]
    parts = torch.split(z, [layers * n for n in widths])
    columns = [part.reshape(layers, n) for part, n in zip(parts, widths)]
    columns[0] = torch.tanh(columns[0])
    if len(columns) < len(zero):
        columns.append(torch.stack([zero[1]] * layers))
    return list(zip(*columns))


def translate(model, tensors, sequence, target, end, looked=None):
    """z and targets of one pair."""
    arguments = model.arguments
    cell, hidden = arguments["cell"], arguments["hidden"]
    rows = theirs.rows(tensors, sequence)
    weights = theirs.of_part(tensors, "encoder")
    h, finals = theirs.layers(cell, hidden, weights, rows, theirs.directions(arguments))
    c = context(arguments, tensors, h, finals)
    states = initial(arguments, tensors, c, finals)
    constant = None if arguments["context_to"] == "state" else (c, tensors["context_input.weight"])
    names = arguments["decoder_cell"], arguments["decoder_hidden"]
    attention = (h, arguments["input_feeding"]) if arguments["attention"] else None
    return decode(*names, "decoder", tensors, target, states, constant, 99, end, attention, looked)


def n_to_m(cell="lstm", inputs="ids", activation="softmax", end=END, **options):
    end = end if activation == "softmax" else None
    options = {"seed": 1, "dtype": "float64", **options}
    model = fastrnn.NToM(cell, INPUTS[inputs], HIDDEN, K, activation=activation, end=end, **options)
    x, y = make(inputs, activation)

    def loss_of(tensors):
        pairs = [translate(model, tensors, *pair, end) for pair in zip(theirs.one_by_one(x), y)]
        return loss_over(activation, pairs)

    return theirs.worst_error(model, x, y, loss_of)


CELLS = list(fastrnn.layers.CELLS)
ATTENTIONS = [
    {"attention": "luong"},
    {"attention": "luong", "score": "dot"},
    {"attention": "luong", "input_feeding": False},
    {"attention": "luong", "score": "dot", "input_feeding": False},
    {"attention": "bahdanau"},
]
OTHER = {"decoder_cell": "gru", "decoder_hidden": 7, "decoder_layers": 2}
ONE_TO_N = [
    *({"cell": cell, "feed": feed} for cell in CELLS for feed in ("first", "every")),
    *({"cell": cell, "feedback": False, "feed": "every"} for cell in CELLS),
    *(
        {"feed": f, "feedback": False, "activation": a}
        for f in ("first", "every")
        for a in ("linear", "sigmoid")
    ),
    *({"feed": f, "activation": a} for f in ("first", "every") for a in ("linear", "sigmoid")),
    *({"inputs": inputs, "num_layers": 2} for inputs in INPUTS),
    {"embedding": 3},
    {"end": None},
    {"bias": False},
    {"max_workspace": 11000},
]
CONTEXTS = ("last", "transform", "first_last", "sequence")
N_TO_M = [
    *({"cell": cell, "context_to": to} for cell in CELLS for to in ("state", "both")),
    *({"cell": c, "context": k, "context_to": to} for c in ("lstm", "gru") for k in CONTEXTS
      for to in ("state", "input", "both")),
    *({"context": k, "context_to": to, "bidirectional": True} for k in CONTEXTS for to in ("state", "input", "both")),
    *({"context": k, "context_to": to, **OTHER} for k in CONTEXTS for to in ("state", "input", "both")),
    *({"cell": "gru", "decoder_cell": "lstm", "context": k, "initial": i} for k in CONTEXTS for i in ("both", "h")),
    *({"decoder_cell": cell, "decoder_hidden": 8} for cell in CELLS),
    {"initial": "h"},
    *({"cell": cell, **looks} for cell in CELLS for looks in ATTENTIONS),
    *({"bidirectional": True, "context_to": to, **looks} for looks in ATTENTIONS if looks.get("score") != "dot"
      for to in ("state", "input", "both")),
    *({"context": "first_last", "decoder_layers": 2, **looks} for looks in ATTENTIONS),
    {"initial": "h", "decoder_layers": 2},
    {"initial": "h", "decoder_layers": 2, "cell": "lstm_projected"},
    {"initial": "h", "cell": "lstm_projected"},
    {"num_layers": 2},
    {"num_layers": 2, "bidirectional": True, "context": "first_last", "context_to": "both"},
    {"direction": "reverse", "context": "first_last"},
    *({"activation": a, "context_to": "both", "inputs": "features"} for a in ("sigmoid", "linear")),
    {"inputs": "both"},
    {"feedback": False},
    {"embedding": 3},
    {"end": None},
    {"max_workspace": 20000},
]  # fmt: skip
ROWS = [
    *((one_to_n, options) for options in ONE_TO_N),
    *((n_to_m, options) for options in N_TO_M),
]
