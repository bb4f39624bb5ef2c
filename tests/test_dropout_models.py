# SPDX-License-Identifier: MIT
"""Dropout in models: masks where they learn, none where they predict, and the same ones for the same seed."""

import fastrnn
import numpy as np
import pytest


def tags():
    random = np.random.default_rng(1)
    x = [random.integers(0, 6, n) for n in (4, 7, 2, 5)]
    return x, [tokens % 2 for tokens in x]


def model(**options):
    return fastrnn.NToN("gru", fastrnn.Embedding(6, 4), 8, 2, num_layers=2, seed=1, **options)


def test_a_model_learns_with_masks_and_predicts_without(tmp_path):
    pytest.importorskip("safetensors", reason="saves a model")
    x, y = tags()
    net, plain = model(dropout=0.5), model()
    np.testing.assert_array_equal(net.predict_proba(x)[1], plain.predict_proba(x)[1])
    net.fit(x, y, epochs=2, seed=3, progress=False)
    plain.fit(x, y, epochs=2, seed=3, progress=False)
    assert not np.array_equal(net.rnn.flat, plain.rnn.flat)
    np.testing.assert_array_equal(net.predict_proba(x)[1], net.predict_proba(x)[1])
    path = tmp_path / "model.safetensors"
    net.save(path)
    again = fastrnn.load(path)
    assert again.arguments["dropout"] == again.rnn.dropout == 0.5
    np.testing.assert_array_equal(again.predict_proba(x)[1], net.predict_proba(x)[1])


def test_a_fit_with_masks_is_repeated_by_its_seed():
    x, y = tags()

    def fitted(net, seed):
        net.fit(x, y, epochs=2, seed=seed, progress=False, shuffle=False)
        return net.rnn.flat.copy()

    used = model(dropout=0.5)
    before = used.state_dict()
    want = fitted(used, 3)
    used.load_state_dict(before)
    np.testing.assert_array_equal(fitted(used, 3), want)
    used.load_state_dict(before)
    assert not np.array_equal(fitted(used, 4), want)
    np.testing.assert_array_equal(fitted(model(dropout=0.5), None), fitted(model(dropout=0.5), None))
