# SPDX-License-Identifier: MIT
"""Bad input to models: one clear error that names both sides, and nothing was changed."""

import fastrnn
import numpy as np
import pytest
from networks import LENGTHS, K, build, make, padded, snapshot

X, Y = make()
F, _ = make("features")


def with_value(arrays, n, t, value):
    changed = [array.copy() for array in arrays]
    changed[n][t] = value
    return changed


@pytest.mark.parametrize(
    ("x", "y", "error", "words"),
    [
        (with_value(X, 3, 2, 9), Y, ValueError, r"x\[3\] holds 9 at step 2, but Embedding\(vocabulary=9\)"),
        (with_value(X, 3, 2, -1), Y, ValueError, r"x\[3\] holds -1 at step 2, but .* ids 0 to 8"),
        (
            X,
            with_value(Y, 5, 1, 3),
            ValueError,
            r"y\[5\] holds 3 at step 1, but outputs=3 has classes 0 to 2",
        ),
        (X, with_value(Y, 5, 1, -1), ValueError, r"y\[5\] holds -1 at step 1"),
        (X, Y[:-1], ValueError, "x has 6 sequences, but y has 5"),
        (X, [*Y[:-1], Y[0]], ValueError, r"x\[5\] has length 2, but y\[5\] has length 4"),
        (X, [y * 1.0 for y in Y], TypeError, r"y\[0\] has dtype float64, but integers"),
        (F, Y, TypeError, r"x\[0\] has dtype float64, but integers"),
        (X, None, TypeError, "y is of type NoneType"),
        (None, Y, TypeError, "x is of type NoneType"),
        (X, "tags", TypeError, "y is of type str"),
        ([], [], ValueError, "x holds no sequence"),
        ([[], []], [[], []], ValueError, "x holds 2 sequences, all empty"),
        (np.zeros((3, 0), int), np.zeros((3, 0), int), ValueError, "x holds 3 sequences, all empty"),
        (
            np.zeros((2, 4), int),
            np.zeros((2, 5), int),
            ValueError,
            r"x of shape \(2, 4\) has T=4 steps, but y of shape \(2, 5\) has T=5 steps",
        ),
        (
            ([X[0], X[3]],),
            Y,
            ValueError,
            r"x\[0\] is a list of sequences, but must be one, \(T,\): x is a list",
        ),
        (
            [[[1, 2], [3, 4]]],
            Y,
            ValueError,
            r"x\[0\] is a list of sequences, but must be one, \(T,\): x is a list",
        ),
        (
            [1, 2, 3],
            [0, 1, 1],
            ValueError,
            r"x\[0\] has shape \(\), .*; for a single sequence pass a list of one",
        ),
        (np.zeros((2, 4), int), np.zeros((3, 4), int), ValueError, "x has 2 sequences, but y has 3"),
        (np.zeros((2, 4), int), [[0] * 4, [0] * 3], ValueError, r"x\[1\] has length 4, but y\[1\] .* 3"),
    ],
)
def test_bad_data(x, y, error, words):
    model = build()
    before = snapshot(model)
    with pytest.raises(error, match=words):
        model.fit(x, y, epochs=1, progress=False)
    with pytest.raises(error, match=words):
        model.evaluate(x, y)
    with pytest.raises(error, match=words):
        model.gradients(x, y)
    with pytest.raises(error, match="validation_data: " + words):
        model.fit(X, Y, epochs=1, validation_data=(x, y), progress=False)
    assert snapshot(model) == before


@pytest.mark.parametrize(
    ("activation", "x", "y", "error", "words"),
    [
        (
            "linear",
            with_value(F, 3, 2, np.nan),
            0.5,
            ValueError,
            r"x\[3\] holds nan at step 2, but features must",
        ),
        ("linear", with_value(F, 0, 1, np.inf), 0.5, ValueError, r"x\[0\] holds inf at step 1"),
        ("linear", with_value(F, 0, 1, 1e300), 0.5, ValueError, r"x\[0\] holds inf .* finite as float32"),
        ("linear", F, np.nan, ValueError, r"y\[0\] holds nan at step 0, but targets must be finite"),
        ("sigmoid", F, np.nan, ValueError, r"y\[0\] holds nan at step 0, but targets of sigmoid"),
        ("sigmoid", F, 1.5, ValueError, r"y\[0\] holds 1.5 at step 0, but .* 0 to 1"),
        ("sigmoid", [f[:, :1] for f in F], 0.5, ValueError, r"x\[0\] has shape \(4, 1\), but .* \(T,2\)"),
        ("sigmoid", X, 0.5, ValueError, r"x\[0\] has shape \(4,\), but a sequence is \(T,2\)"),
    ],
)
def test_bad_features(activation, x, y, error, words):
    model = build("lstm", "features", activation, dtype="float32")
    targets = [np.full((n, K), y) for n in LENGTHS]
    with pytest.raises(error, match=words):
        model.fit(x, targets, epochs=1, progress=False)


def test_targets_of_another_width():
    model = build("lstm", "features", "linear")
    with pytest.raises(ValueError, match=r"y\[0\] has shape \(4, 2\), but a sequence is \(T,3\)"):
        model.fit(F, F, epochs=1, progress=False)


def test_nan_in_padding_is_no_error_but_in_a_sequence_is():
    model = build("lstm", "features", "linear")
    x = padded(F, np.nan)
    assert np.isfinite(model.predict(x, lengths=LENGTHS)).all()
    with pytest.raises(ValueError, match=r"x\[0\] holds nan at step 4"):
        model.predict(x)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"epochs": 0}, ValueError, "epochs is 0"),
        ({"epochs": 1.0}, TypeError, "epochs is 1.0"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
        ({"batch_size": True}, TypeError, "batch_size is True"),
        ({"optimizer": 1e-3}, TypeError, r"optimizer is 0.001 .* fastrnn.Adam\(1e-3\)"),
        ({"clip": 5.0}, TypeError, r"clip is 5.0 .* fastrnn.Clip\(norm=5.0\)"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"seed": "x"}, TypeError, "seed is 'x'"),
        ({"shuffle": None}, TypeError, "shuffle is None"),
        ({"progress": 1}, TypeError, "progress is 1"),
        ({"lengths": LENGTHS}, ValueError, "lengths goes with a padded array"),
        ({"validation_data": X}, TypeError, r"must be \(x, y\) or \(x, y, lengths\)"),
        ({"validation_data": (X, Y, LENGTHS)}, ValueError, "validation_data: lengths goes with"),
    ],
)
def test_bad_settings(options, error, words):
    model = build()
    before = snapshot(model)
    with pytest.raises(error, match=words):
        model.fit(X, Y, **{"epochs": 1, "progress": False, **options})
    assert snapshot(model) == before


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        (("elman", 3, 4, 5), {}, ValueError, "cell is 'elman', but must be one of .*'lstm'"),
        ((None, 3, 4, 5), {}, ValueError, "cell is None"),
        (("lstm", 0, 4, 5), {}, ValueError, "inputs is 0"),
        (("lstm", "x", 4, 5), {}, TypeError, "inputs is 'x'"),
        (("lstm", 3, 0, 5), {}, ValueError, "hidden is 0"),
        (("lstm", 3, 4, -5), {}, ValueError, "outputs is -5"),
        (("lstm", 3, 4, 5), {"activation": "relu"}, ValueError, "activation is 'relu', but must be one of"),
        (("lstm", 3, 4, 5), {"num_layers": 0}, ValueError, "num_layers is 0"),
        (("lstm", 3, 4, 5), {"bidirectional": 1}, TypeError, "bidirectional is 1"),
        (("lstm", 3, 4, 5), {"dtype": "int32"}, TypeError, "dtype is int32"),
        (("lstm", 3, 4, 5), {"seed": -1}, ValueError, "seed is -1"),
        (("lstm", 3, 2**40, 5), {}, ValueError, "more than the .* that can be addressed"),
        (("lstm", 3, 4, 2**62), {}, ValueError, f"outputs={2**62}"),
    ],
)
def test_bad_models(arguments, options, error, words):
    with pytest.raises(error, match=words):
        fastrnn.NToN(*arguments, **options)


def test_bad_states():
    model = build()
    before = snapshot(model)
    state = build(seed=2).state_dict()
    missing = {name: array for name, array in state.items() if name != "readout.bias"}
    cases = [
        (missing, ValueError, "lacks readout.bias"),
        ({**state, "readout.scale": np.zeros(3)}, ValueError, "unknown readout.scale"),
        ({**state, "readout.bias": np.zeros(4)}, ValueError, r"readout.bias has shape \(4,\)"),
        ({**state, "readout.bias": [0.0] * 3}, TypeError, "readout.bias is of type list"),
        ({**state, "readout.bias": np.zeros(3, complex)}, TypeError, "readout.bias has dtype complex128"),
        ([1, 2], TypeError, "type list, not a mapping"),
    ]
    for wrong, error, words in cases:
        with pytest.raises(error, match=words):
            model.load_state_dict(wrong)
        assert snapshot(model) == before
