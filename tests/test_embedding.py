# SPDX-License-Identifier: MIT
"""Embedding tables: rows looked up, gradients added in order, and only rows of tokens that occur touched."""

import dataclasses

import fastrnn
import numpy as np
import pytest
from fastrnn.embedding import EmbeddingTable
from fastrnn.gradients import Gradient, RowGradient, norm


@pytest.fixture
def table(dtype):
    return EmbeddingTable(fastrnn.Embedding(7, 3), np.dtype(dtype), np.random.default_rng(1))


def test_rows_are_looked_up(table, dtype):
    ids = np.array([[0, 6, 2], [6, 6, 1]])
    rows = table.forward(ids)
    assert rows.dtype == dtype
    assert np.array_equal(rows, table.weight[ids])
    assert table.forward(np.empty((0, 4), np.int64)).shape == (0, 4, 3)


def test_weight_is_a_view_of_flat(table):
    table.parameters()["weight"][4, 2] = 8.0
    assert table.flat[4 * 3 + 2] == 8.0
    assert table.weight[4, 2] == 8.0


def test_both_dtypes_start_alike():
    def start(dtype):
        return EmbeddingTable(fastrnn.Embedding(50, 40), np.dtype(dtype), np.random.default_rng(3)).weight

    assert np.array_equal(start("float32"), start("float64").astype(np.float32))
    assert abs(start("float64").std() - 1) < 0.05


def test_gradient_is_added_in_the_order_of_the_ids(table, dtype):
    rng = np.random.default_rng(2)
    ids = np.array([5, 0, 5, 5, 2, 0])
    dout = (rng.standard_normal((6, 3)) * 10.0 ** rng.integers(-6, 6, (6, 1))).astype(dtype)
    want = np.zeros((7, 3), dtype)
    for token, row in zip(ids, dout):
        want[token] += row
    gradient = RowGradient(table.weight)
    gradient.add(ids, dout)
    assert gradient.flat.reshape(7, 3).tobytes() == want.tobytes()
    gradient.add(ids[:2], dout[:2])
    want[5] += dout[0]
    want[0] += dout[1]
    assert gradient.flat.reshape(7, 3).tobytes() == want.tobytes()


def test_norm_and_clear_see_all_touched_rows(table):
    gradient = RowGradient(table.weight)
    gradient.add(np.array([1, 1]), np.ones((2, 3), table.weight.dtype))
    gradient.add(np.array([6]), np.full((1, 3), 3, table.weight.dtype))
    assert gradient.square_sum() == 3 * (2**2 + 3**2)
    gradient.clear()
    assert not gradient.flat.any()
    assert gradient.square_sum() == 0


def test_rows_of_other_tokens_are_not_touched(table):
    gradient = RowGradient(table.weight)
    gradient.flat[:] = np.nan
    gradient.flat.reshape(7, 3)[[2, 5]] = 0
    gradient.add(np.array([5, 2]), np.ones((2, 3), table.weight.dtype))
    assert gradient.square_sum() == 6
    gradient.clear()
    assert np.flatnonzero(np.isnan(gradient.flat.reshape(7, 3)).any(axis=1)).tolist() == [0, 1, 3, 4, 6]


def test_a_gathered_sum_of_squares_is_taken_until_cleared():
    gradient = Gradient(np.zeros(4, np.float32))
    gradient.flat[:] = 2
    assert gradient.square_sum() == 16
    gradient.gathered = 9.0
    assert gradient.square_sum() == 9.0
    assert norm([gradient, gradient]) == np.sqrt(18)
    gradient.clear()
    assert gradient.square_sum() == 0
    assert not gradient.flat.any()


def test_embedding_is_a_value():
    assert fastrnn.Embedding(5, 2) == fastrnn.Embedding(vocabulary=5, size=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        fastrnn.Embedding(5, 2).size = 3


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((0, 4), ValueError, "vocabulary is 0, but must be at least 1"),
        ((4, -2), ValueError, "size is -2, but must be at least 1"),
        ((2.0, 4), TypeError, "vocabulary is 2.0"),
        ((4, "8"), TypeError, "size is '8'"),
        ((True, 4), TypeError, "vocabulary is True"),
        ((2**40, 2**40), ValueError, f"vocabulary={2**40} \\* size={2**40} is {2**80} elements"),
    ],
)
def test_bad_sizes(arguments, error, words):
    with pytest.raises(error, match=words):
        fastrnn.Embedding(*arguments)
