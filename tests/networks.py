# SPDX-License-Identifier: MIT
"""Small models and data for the tests of models."""

import fastrnn
import numpy as np

CELLS = list(fastrnn.layers.CELLS)
LENGTHS = [4, 0, 1, 3, 4, 2]
VOCABULARY, FEATURES, K = 9, 2, 3


def build(cell="lstm", inputs="ids", activation="softmax", **options):
    source = fastrnn.Embedding(VOCABULARY, 4) if inputs == "ids" else FEATURES
    options = {"dtype": "float64", "seed": 1, **options}
    return fastrnn.NToN(cell, source, hidden=5, outputs=K, activation=activation, **options)


def make(inputs="ids", activation="softmax", lengths=LENGTHS):
    """x and y as lists, with an empty sequence among them; token 8 never occurs."""
    rng = np.random.default_rng(2)
    if inputs == "ids":
        x = [rng.integers(0, VOCABULARY - 1, n) for n in lengths]
    else:
        x = [rng.standard_normal((n, FEATURES)) for n in lengths]
    if activation == "softmax":
        return x, [rng.integers(0, K, n) for n in lengths]
    return x, [rng.uniform(0, 1, (n, K)) for n in lengths]


def padded(arrays, fill):
    out = np.full((len(arrays), 6, *arrays[0].shape[1:]), fill, arrays[0].dtype)
    for row, array in zip(out, arrays):
        row[: len(array)] = array
    return out


def snapshot(model):
    return {name: array.tobytes() for name, array in model.parameters().items()}


def echo(count=60, seed=5):
    """Each label is the token before: learnable by memory alone."""
    rng = np.random.default_rng(seed)
    x = [rng.integers(0, 4, rng.integers(0, 9)) for _ in range(count)]
    return x, [np.concatenate(([0], tokens[:-1]))[: len(tokens)] for tokens in x]


def tagger(cell="gru", seed=1, hidden=12, **options):
    return fastrnn.NToN(cell, fastrnn.Embedding(4, 6), hidden, 4, seed=seed, **options)
