# SPDX-License-Identifier: MIT
"""From a user's sequences to padded time-major batches and back: nothing lost or mixed up, little padded."""

import numpy as np
import pytest
from fastrnn.batching import SequencePairs, bucket, sequences

LENGTHS = [3, 0, 5, 3, 1, 0, 5, 2, 4, 4, 0]


def make(item=(), lengths=LENGTHS, start=0):
    """Sequences whose numbers are all different."""
    count = int(np.prod(item, dtype=int))
    ends = np.cumsum(lengths)
    return [
        (start + np.arange((end - n) * count, end * count)).reshape(n, *item) for n, end in zip(lengths, ends)
    ]


def padded(arrays, steps, fill):
    out = np.full((len(arrays), steps, *arrays[0].shape[1:]), fill)
    for row, array in zip(out, arrays):
        row[: len(array)] = array
    return out


def forms(arrays, dtype):
    """The same sequences as list and as padded array with garbage in the padding."""
    item = arrays[0].shape[1:]
    fill = np.nan if np.dtype(dtype).kind == "f" else -9
    grid = padded([array.astype(dtype) for array in arrays], 6, fill)
    yield sequences("x", arrays, item, dtype)
    yield sequences("x", grid, item, dtype, [len(array) for array in arrays])


@pytest.mark.parametrize(("item", "dtype"), [((), np.int64), ((3,), np.float32)])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_batches_hold_every_step_once(item, dtype, size):
    xs, ys = make(item), make((), start=1000)
    for x in forms(xs, dtype):
        for y in forms(ys, np.int64):
            data = SequencePairs(x, y)
            seen = []
            for index in bucket(data.lengths, size, np.random.default_rng(1)):
                batch = data.batch(index)
                steps = max(LENGTHS[n] for n in index)
                assert batch.x.shape == (steps, len(index), *item)
                assert batch.x.dtype == dtype
                assert batch.x.flags.c_contiguous
                for b, n in enumerate(index):
                    assert np.array_equal(batch.x[: LENGTHS[n], b], xs[n])
                    assert np.isfinite(batch.x[LENGTHS[n] :, b]).all()
                order = [(t, n) for t in range(steps) for n in index if t < LENGTHS[n]]
                assert batch.targets.tolist() == [ys[n][t] for t, n in order]
                if batch.rows is None:
                    assert batch.lengths is None
                    assert len(order) == steps * len(index)
                else:
                    assert len(order) < steps * len(index)
                    assert batch.lengths.tolist() == [LENGTHS[n] for n in index]
                seen += index.tolist()
            assert sorted(seen) == [n for n, length in enumerate(LENGTHS) if length]


@pytest.mark.parametrize("item", [(), (2,)])
def test_pick_and_put_are_inverse(item):
    for lengths in ([3, 3], [4, 1, 3]):
        data = SequencePairs(sequences("x", make((), lengths), (), np.int64))
        batch = data.batch(np.arange(len(lengths)))
        grid = np.random.default_rng(2).standard_normal((*batch.x.shape, *item))
        picked = batch.pick(grid)
        assert len(picked) == sum(lengths)
        back = batch.put(picked, grid.shape)
        for b, length in enumerate(lengths):
            assert np.array_equal(back[:length, b], grid[:length, b])
            assert not back[length:, b].any()


@pytest.mark.parametrize("size", [1, 3, 100])
def test_results_come_back_in_the_callers_order(size):
    arrays = make()
    for x in forms(arrays, np.int64):
        data = SequencePairs(x)
        rows = np.full(data.rows, -1)
        for index in bucket(data.lengths, size, np.random.default_rng(3)):
            batch = data.batch(index)
            rows[batch.where] = batch.pick(batch.x) * 10
        results = data.restore(rows)
        if x.padded is None:
            assert [r.tolist() for r in results] == [(10 * a).tolist() for a in arrays]
        else:
            assert np.array_equal(results, padded([10 * a for a in arrays], 6, -1))


def test_no_sequences_give_no_results():
    x = sequences("x", [], (), np.int64)
    assert len(x) == 0
    assert bucket(x.lengths, 4) == []
    assert SequencePairs(x).restore(np.empty(0)) == []


def test_buckets_are_of_similar_length():
    lengths = np.random.default_rng(4).integers(0, 40, 1000)
    batches = bucket(lengths, 32, np.random.default_rng(5))
    assert sorted(len(batch) for batch in batches)[-2:] == [32, 32]
    assert sum(len(batch) < 32 for batch in batches) <= 1
    area = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert area < 1.05 * lengths.sum()


def test_shuffling_follows_the_seed():
    lengths = np.array([4] * 20 + [2] * 20)

    def batches(rng):
        return [batch.tolist() for batch in bucket(lengths, 5, rng)]

    first = batches(np.random.default_rng(6))
    assert batches(np.random.default_rng(6)) == first
    assert batches(np.random.default_rng(7)) != first
    assert [lengths[batch[0]] for batch in first] != sorted(lengths[batch[0]] for batch in first)
    rng = np.random.default_rng(6)
    assert batches(rng) == first
    assert batches(rng) != first, "the next epoch is another one"
    plain = batches(None)
    assert plain == [list(range(n, n + 5)) for n in (20, 25, 30, 35, 0, 5, 10, 15)]


def test_locate_finds_sequence_and_step():
    for x in forms(make(), np.int64):
        for n, start in enumerate(x.starts):
            for t in range(LENGTHS[n]):
                assert x.locate(int(start) + t) == (n, t)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint64])
def test_integers_of_any_width(kind):
    x = sequences("x", [np.array([1, 2], kind), [3], []], (), np.int64)
    assert x.values.dtype == np.int64
    assert x.values.tolist() == [1, 2, 3]
    assert x.lengths.tolist() == [2, 1, 0]


@pytest.mark.parametrize("kind", [bool, np.int32, np.float16, np.float64])
def test_features_of_any_real_dtype(kind):
    array = np.ones((2, 3), kind)
    ragged = np.empty(2, object)
    ragged[:] = [array, array[:0]]
    for data in ([array, []], (array,), array[None], ragged):
        x = sequences("x", data, (3,), np.float32)
        assert x.values.dtype == np.float32
        assert x.values.tolist() == [[1.0] * 3] * 2


def test_padded_arrays_of_any_strides():
    grid = np.arange(24).reshape(4, 3, 2)
    for data in (grid.transpose(1, 0, 2), np.asfortranarray(grid), grid[::-1, ::2]):
        x = sequences("x", data, (2,), np.float64)
        assert np.array_equal(x.restore(x.values), data)


def test_an_array_of_the_right_form_is_not_copied():
    grid = np.zeros((4, 3, 2), np.float32)
    assert np.shares_memory(sequences("x", grid, (2,), np.float32).values, grid)


ONES = np.ones((3, 4), int)


@pytest.mark.parametrize(
    ("data", "item", "lengths", "error", "words"),
    [
        (None, (), None, TypeError, "x is of type NoneType, not a list of sequences or a padded array"),
        ("text", (), None, TypeError, "x is of type str"),
        ({1: 2}, (), None, TypeError, "x is of type dict"),
        ((n for n in "ab"), (), None, TypeError, "x is of type generator"),
        (7, (), None, TypeError, "x is of type int"),
        ([[1], 2], (), None, ValueError, r"x\[1\] has shape \(\), but a sequence is \(T,\)"),
        ([[1], ["a"]], (), None, TypeError, r"x\[1\] has dtype <U1, but integers"),
        ([[1], [1.5]], (), None, TypeError, r"x\[1\] has dtype float64, but integers"),
        ([[True]], (), None, TypeError, r"x\[0\] has dtype bool, but integers"),
        ([[1], None], (), None, TypeError, r"x\[1\] \(NoneType\) holds objects, but numbers"),
        ([[object()]], (), None, TypeError, r"x\[0\] \(list\) holds objects, but numbers"),
        ([[[1], [2, 3]]], (2,), None, TypeError, r"x\[0\] (is no array|.* holds objects)"),
        ([[[1, 2]]], (), None, ValueError, r"x\[0\] is a list of sequences, but must be one, \(T,\)"),
        (
            [np.ones((1, 2), int)],
            (),
            None,
            ValueError,
            r"x\[0\] has shape \(1, 2\), but a sequence is \(T,\)",
        ),
        ([[[1, 2]]], (3,), None, ValueError, r"x\[0\] has shape \(1, 2\), but a sequence is \(T,3\)"),
        ([[[1j, 2]]], (2,), None, TypeError, r"x\[0\] has dtype complex128, but real"),
        ([[1]], (), [1], ValueError, "lengths goes with a padded array, but x is a list"),
        (ONES[0], (), None, ValueError, r"x has shape \(4,\), but \(N,T\) or a list of sequences"),
        (ONES, (5,), None, ValueError, r"x has shape \(3, 4\), but \(N,T,5\)"),
        (ONES[:, :, None], (5,), None, ValueError, r"x has shape \(3, 4, 1\), but \(N,T,5\)"),
        (ONES * 0.5, (), None, TypeError, "x has dtype float64, but integers"),
        (ONES, (), [4, 4], ValueError, r"lengths has shape \(2,\)"),
        (ONES, (), [4, 5, 1], ValueError, r"lengths\[1\] is 5.* T=4"),
        (ONES, (), [4, -1, 1], ValueError, r"lengths\[1\] is -1"),
        (ONES, (), [4, np.nan, 1], TypeError, "lengths has dtype float64"),
        (ONES, (), "444", TypeError, "lengths"),
    ],
)
@pytest.mark.filterwarnings("ignore:Creating an ndarray from ragged")  # of NumPy before 1.24
def test_bad_sequences(data, item, lengths, error, words):
    with pytest.raises(error, match=words):
        sequences("x", data, item, np.float64 if item else np.int64, lengths)
