# SPDX-License-Identifier: MIT
"""Every topology and option against an independent PyTorch model of the same form: loss and all gradients, in double.

Run as a script it prints the table: the largest error of each row.
"""

import sys

import fastrnn
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is an optional further oracle")

import torch_models as theirs  # noqa: E402
import torch_producers  # noqa: E402

BOUND = 1e-8
CELLS = list(fastrnn.layers.CELLS)
LENGTHS = [4, 1, 3, 6, 2]
VOCABULARY, FEATURES, SIZE, HIDDEN, K = 9, 2, 4, 6, 3
EMBEDDING = fastrnn.Embedding(VOCABULARY, SIZE)
INPUTS = {"ids": EMBEDDING, "features": FEATURES, "both": (EMBEDDING, FEATURES)}
#: What counts in a loss, as torch says it
WEIGHTED = {"weight": [0.5, 2.0, 1.25]}
SMOOTH = {"label_smoothing": 0.2}
IGNORED = {"ignore_index": 1}
PADDED = {"ignore_index": -100}
POSITIVE = {"pos_weight": [0.5, 3.0, 1.25]}


def make_x(inputs, lengths=LENGTHS):
    rng = np.random.default_rng(2)
    ids = [rng.integers(0, VOCABULARY, n) for n in lengths]
    features = [rng.standard_normal((n, FEATURES)) for n in lengths]
    return {"ids": ids, "features": features, "both": (ids, features)}[inputs]


def make_targets(activation, count, loss):
    """For `count` rows; some are ignored where there is a label for it."""
    rng = np.random.default_rng(3)
    if activation != "softmax":
        return rng.uniform(0, 1, (count, K))
    labels = rng.integers(0, K, count)
    if "ignore_index" in loss:
        labels[1::3] = loss["ignore_index"]
    return labels


def ours(loss):
    """The same, as we say it."""
    if not loss:
        return None
    if "pos_weight" in loss:
        return fastrnn.BinaryCrossEntropy(**loss)
    return fastrnn.CrossEntropy(**{{"weight": "class_weight"}.get(name, name): v for name, v in loss.items()})


def hidden_states(model, tensors, x):
    """(h (T,P), final states) of each sequence."""
    arguments = model.arguments
    weights, words = theirs.of_part(tensors, "rnn"), theirs.directions(arguments)
    for sequence in theirs.one_by_one(x):
        rows = theirs.rows(tensors, sequence)
        start = None
        if "h0" in weights:
            start = list(zip(*(weights[name] for name in ("h0", "c0") if name in weights)))
        yield theirs.layers(arguments["cell"], arguments["hidden"], weights, rows, words, start)


def read_out(tensors, h):
    weight = "readout.weight" if "readout.weight" in tensors else "embedding.weight"
    return h @ tensors[weight].T + tensors["readout.bias"]


def pool(model, tensors, h, finals):
    name = model.arguments["pool"]
    if name == "last":
        sides = 2 if theirs.directions(model.arguments)[-1] == "both" else 1
        return torch.cat([state[0] for state in finals[-sides:]])
    if name == "learned":
        w = theirs.of_part(tensors, "pool")
        scores = torch.tanh(torch.nn.functional.linear(h, w["weight"], w["bias"])) @ w["vector"]
        return torch.softmax(scores, dim=0) @ h
    return h.mean(dim=0) if name == "mean" else h.max(dim=0).values


def n_to_n(cell="lstm", inputs="ids", activation="softmax", loss=(), **options):
    loss = dict(loss)
    options = {"outputs": K, "seed": 1, "dtype": "float64", "hidden": HIDDEN, **options}
    model = fastrnn.NToN(cell, INPUTS[inputs], activation=activation, loss=ours(loss), **options)
    x = make_x(inputs)
    flat = make_targets(activation, sum(LENGTHS), loss)
    y = np.split(flat, np.cumsum(LENGTHS)[:-1])

    def loss_of(tensors):
        z = torch.cat([read_out(tensors, h) for h, _ in hidden_states(model, tensors, x)])
        return theirs.loss(activation, loss)(z, torch.tensor(flat))

    return theirs.worst_error(model, x, y, loss_of)


def n_to_one(cell="lstm", inputs="ids", activation="softmax", loss=(), **options):
    loss = dict(loss)
    options = {"seed": 1, "dtype": "float64", **options}
    model = fastrnn.NToOne(cell, INPUTS[inputs], HIDDEN, K, activation=activation, loss=ours(loss), **options)
    x, y = make_x(inputs), make_targets(activation, len(LENGTHS), loss)

    def loss_of(tensors):
        seen = [pool(model, tensors, h, finals) for h, finals in hidden_states(model, tensors, x)]
        return theirs.loss(activation, loss)(read_out(tensors, torch.stack(seen)), torch.tensor(y))

    return theirs.worst_error(model, x, y, loss_of)


LAYERS = [
    {"num_layers": 2},
    {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True},
    {"direction": "reverse"},
    {"num_layers": 2, "direction": ("both", "forward")},
    {"bias": "one"},
    {"bias": False},
    {"learn_state": True},
]
LOSSES = [
    {"loss": WEIGHTED},
    {"loss": SMOOTH},
    {"loss": IGNORED},
    {"loss": PADDED},
    {"loss": {**WEIGHTED, **SMOOTH, **PADDED}},
    {"activation": "sigmoid"},
    {"activation": "sigmoid", "loss": POSITIVE},
    {"activation": "linear"},
]
COMMON = [
    *({"cell": cell} for cell in CELLS),
    *({"cell": cell, "num_layers": 2, "bidirectional": True} for cell in CELLS),
    *LAYERS,
    *({"cell": "gru", **options} for options in LAYERS),
    {"inputs": "features"},
    {"inputs": "both"},
    {"inputs": "both", "max_workspace": 11000},
    *LOSSES,
]
POOLS = [
    *({"pool": name, "cell": cell} for name in ("mean", "max", "learned") for cell in CELLS),
    *({"pool": name, **options} for name in ("mean", "max", "learned") for options in LAYERS),
    *({"pool": name, "inputs": kind} for name in ("mean", "max", "learned") for kind in ("features", "both")),
    *({"pool": "learned", "cell": "gru", **options} for options in LOSSES),
]
TIED = {"tie": True, "hidden": SIZE, "outputs": VOCABULARY}
ROWS = [
    *((n_to_n, options) for options in [*COMMON, TIED, {**TIED, "inputs": "both"}]),
    (n_to_n, {**TIED, "hidden": SIZE // 2, "bidirectional": True}),
    *((n_to_one, options) for options in [*COMMON, *POOLS]),
    *torch_producers.ROWS,
]


def described(row):
    build, options = row
    return f"{build.__name__} " + " ".join(f"{name}={value}" for name, value in options.items())


@pytest.mark.parametrize(("build", "options"), ROWS, ids=map(described, ROWS))
def test_loss_and_gradients_are_torchs(build, options):
    assert build(**options) <= BOUND


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "gru", "lstm", "lstm_projected"])
def test_the_cells_here_are_torchs_own(cell):
    """Where torch.nn has the cell."""
    options = {"nonlinearity": cell[4:]} if cell.startswith("rnn") else {}
    options |= {"proj_size": HIDDEN // 2} if cell == "lstm_projected" else {}
    kind = theirs.MODULES.get(cell, torch.nn.RNN)
    net = kind(FEATURES, HIDDEN, 2, bidirectional=True, dtype=torch.float64, **options)
    x = torch.tensor(make_x("features")[3])
    y, finals = theirs.layers(cell, HIDDEN, dict(net.named_parameters()), x, ("both", "both"))
    want, after = net(x)
    after = after if isinstance(after, tuple) else (after,)
    assert (y - want).abs().max() < 1e-14
    for kept, state in zip(zip(*finals), after):
        assert (torch.stack(kept) - state).abs().max() < 1e-14


if __name__ == "__main__":
    worst = 0.0
    for row in ROWS:
        error = row[0](**row[1])
        worst = max(worst, error)
        print(f"{error:.1e}  {described(row)}")
    print(f"{worst:.1e}  the largest of {len(ROWS)} rows")
    sys.exit(worst > BOUND)
