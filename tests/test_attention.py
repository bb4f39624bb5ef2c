# SPDX-License-Identifier: MIT
"""Decoders with attention that run step by step: what does not need another implementation to compare with."""

import fastrnn
import numpy as np
import pytest
from fastrnn.layers import CELLS
from fastrnn.topologies.attention import Attention
from fastrnn.topologies.stepwise import Sampling, backward, forward
from refusal import refused

T, B, S, E, P, M, K = 5, 4, 6, 3, 7, 7, 9
FORMS = [
    ("luong", "dot", True),
    ("luong", "general", True),
    ("luong", "general", False),
    ("bahdanau", "general", True),
    (None, "", False),
]


def make(form, cell="lstm", layers=2, rows=B, **options):
    kind, score, feeding = form
    rng = np.random.default_rng(3)
    attention = kind and Attention(kind, P, M, score=score, input_feeding=feeding, dtype="float64", rng=rng)
    rnn = CELLS[cell](E + (attention.fed if attention else 0), P, layers, dtype="float64", seed=1, **options)
    table, readout = rng.standard_normal((K, E)), rng.standard_normal((K, P))
    ids = rng.integers(0, K, (T, B))[:, :rows]
    memory = rng.standard_normal((S, B, M))[:, :rows]
    return rnn, attention, table, readout, ids, memory


def learn(
    form, sampling=None, cell="lstm", lengths=None, source_lengths=None, rows=B, dropout_seed=None, **options
):
    rnn, attention, table, readout, ids, memory = make(form, cell, rows=rows, **options)
    chosen = sampling and Sampling(
        sampling["p"],
        readout,
        np.zeros(K),
        table,
        seed=sampling.get("seed", 0),
        draw=sampling.get("draw", False),
    )
    out, _, tape = forward(
        rnn, attention, table[ids], memory if attention else None, lengths=lengths,
        source_lengths=source_lengths if attention else None, sampling=chosen, ids=ids, dropout_seed=dropout_seed,
    )  # fmt: skip
    flat = attention and np.zeros_like(attention.flat)
    dout = np.random.default_rng(5).standard_normal((T, B, P))[:, :rows]
    found = backward(tape, dout, attention_flat=flat)
    everything = [out, found.x, found.flat, *([] if flat is None else [flat, found.memory])]
    return everything, tape, (rnn, attention, table, readout, ids, memory)


@pytest.mark.parametrize("form", FORMS)
def test_sampling_of_nothing_is_teacher_forcing(form):
    given, _, _ = learn(form)
    sampled, _, _ = learn(form, {"p": 0.0})
    for a, b in zip(given, sampled):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("form", FORMS)
def test_sampling_of_all_feeds_the_largest_outputs(form):
    found, tape, (rnn, attention, table, readout, ids, memory) = learn(form, {"p": 1.0})
    want = (found[0] @ readout.T).argmax(2)
    assert np.array_equal(tape.ids[1:], want[:-1])
    assert np.array_equal(tape.ids[0], ids[0])
    again, _, _ = forward(rnn, attention, table[tape.ids], memory if attention else None)
    assert np.allclose(again, found[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("draw", [False, True])
def test_some_tokens_are_chosen_by_place_alone(draw):
    _, tape, (*_, ids, _) = learn(FORMS[1], {"p": 0.5, "seed": 8, "draw": draw})
    _, fewer, _ = learn(FORMS[1], {"p": 0.5, "seed": 8, "draw": draw}, rows=2)
    assert np.array_equal(tape.ids[:, :2], fewer.ids)
    assert 0 < (tape.ids != ids).sum() < ids.size


@pytest.mark.parametrize("form", FORMS)
def test_rows_do_not_depend_on_the_batch(form):
    lengths, source = np.array([3, 5, 1, 4]), np.array([6, 3, 1, 4])
    all_rows, _, _ = learn(form, {"p": 0.5}, lengths=lengths, source_lengths=source)
    two, _, _ = learn(form, {"p": 0.5}, lengths=lengths[:2], source_lengths=source[:2], rows=2)
    assert np.array_equal(all_rows[0][:, :2], two[0])
    assert np.array_equal(all_rows[1][:, :2], two[1])
    assert not all_rows[0][3:, 0].any()
    assert not all_rows[1][3:, 0].any()


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before", "lstm_layer_norm"])
@pytest.mark.parametrize("form", FORMS)
def test_bits_do_not_depend_on_threads(form, cell):
    found = []
    for threads in (1, 2):
        fastrnn._core.force_split("batch")
        try:
            with fastrnn.threads(threads):
                lengths = np.array([3, 5, 1, 4])
                found.append(learn(form, {"p": 0.5}, cell, lengths=lengths, dropout=0.3, dropout_seed=4)[0])
        finally:
            fastrnn._core.force_split(None)
    for one, two in zip(*found):
        assert np.array_equal(one, two)


def test_loop_has_the_values_of_whole_sequences():
    whole = make(FORMS[-1], dropout=0.4)[0]
    _, _, (_, _, table, _, ids, _) = learn(FORMS[-1])
    y, _, tape = whole.forward(table[ids], dropout_seed=4)
    want = whole.backward(tape, np.random.default_rng(5).standard_normal((T, B, P)))
    # A probability so small that no token is chosen: the loop over steps, with the masks of whole sequences
    (out, dx, flat), _, _ = learn(FORMS[-1], {"p": 1e-300}, dropout=0.4, dropout_seed=4)
    for a, b in ((out, y), (dx, want.x), (flat, want.flat)):
        assert np.allclose(a, b, rtol=0, atol=1e-12)


def test_what_does_not_fit_is_refused():
    rng = np.random.default_rng(0)
    refused(ValueError, ["attention", "'bilinear'"], Attention, "bilinear", 3, 3, rng=rng)
    refused(ValueError, ["score", "'dot'", 3, 4], Attention, "luong", 3, 4, score="dot", rng=rng)
    rnn, attention, table, readout, ids, memory = make(FORMS[1])
    x = table[ids]
    refused(ValueError, ["memory", "None"], forward, rnn, attention, x)
    refused(ValueError, ["memory", 3, 4], forward, rnn, attention, x, memory[:, :3])
    refused(
        ValueError, ["lengths"], forward, rnn, attention, x, memory, source_lengths=np.array([7, 1, 1, 1])
    )
    refused(ValueError, ["x"], forward, rnn, attention, x[:, :, :2], memory)
    sampling = Sampling(0.5, readout, np.zeros(K), table)
    refused(ValueError, ["ids", "None"], forward, rnn, attention, x, memory, sampling=sampling)
    tape = forward(rnn, attention, x, memory)[2]
    refused(ValueError, ["attention_flat", "None"], backward, tape, np.zeros((T, B, P)))
    flat = np.zeros_like(attention.flat)
    refused(ValueError, ["dy"], backward, tape, np.zeros((T, B, P + 1)), attention_flat=flat)
    backward(tape, np.zeros((T, B, P)), attention_flat=flat)
    refused(ValueError, ["tape", "used"], backward, tape, np.zeros((T, B, P)), attention_flat=flat)
