# SPDX-License-Identifier: MIT
"""Linear-chain CRFs against the enumeration of all paths, and models with one against PyTorch in float64."""

import itertools

import fastrnn
import numpy as np
import pytest
from fastrnn import crf


def problem(T, B, K, seed=0, size=1.0):
    rng = np.random.default_rng(seed)
    z, transition = size * rng.standard_normal((T, B, K)), size * rng.standard_normal((K, K))
    start, end = size * rng.standard_normal(K), size * rng.standard_normal(K)
    tags, lengths = rng.integers(0, K, (T, B)), rng.integers(0, T + 1, B)
    lengths[0] = T
    return z, tags, transition, {"start": start, "end": end, "lengths": lengths}


def all_paths(z, transition, start, end):
    """Every path of one row (n,K) and its score."""
    n, K = z.shape
    paths = np.array(list(itertools.product(range(K), repeat=n)))
    score = start[paths[:, 0]] + end[paths[:, -1]] + z[np.arange(n), paths].sum(axis=1)
    return paths, score + transition[paths[:, :-1], paths[:, 1:]].sum(axis=1)


@pytest.mark.parametrize(("T", "K"), [(1, 1), (1, 4), (5, 1), (4, 2), (5, 3), (4, 5)])
@pytest.mark.parametrize("size", [1.0, 1000.0])
@pytest.mark.parametrize("forbid", [False, True])
def test_brute_force(T, K, size, forbid):
    z, tags, transition, options = problem(T, 6, K, size=size)
    if forbid:
        transition[np.random.default_rng(1).random((K, K)) < 0.6] = -1e4
    likelihood = crf.crf_log_likelihood(z, tags, transition, **options)
    best, scores = crf.crf_decode(z, transition, **options)
    marginals = crf.crf_marginals(z, transition, **options)
    for b, n in enumerate(options["lengths"]):
        assert (best[n:, b] == -1).all()
        assert not marginals[n:, b].any()
        if n == 0:
            assert likelihood[b] == scores[b] == 0
            continue
        paths, score = all_paths(z[:n, b], transition, options["start"], options["end"])
        weights = np.exp(score - score.max())
        log_z = score.max() + np.log(weights.sum())
        own = score[(paths == tags[:n, b]).all(axis=1)][0]
        np.testing.assert_allclose(likelihood[b], own - log_z, rtol=1e-12, atol=1e-10)
        np.testing.assert_allclose(scores[b], score.max(), rtol=1e-12)
        np.testing.assert_array_equal(best[:n, b], paths[score.argmax()])
        for t in range(n):
            want = np.bincount(paths[:, t], weights / weights.sum(), K)
            np.testing.assert_allclose(marginals[t, b], want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("reduction", "over"), [("sum", 1), ("mean", 4), ("token_mean", 14)])
def test_central_differences(reduction, over):
    z, tags, transition, options = problem(5, 4, 3)
    options["lengths"] = np.array([5, 5, 1, 3])
    loss = crf.crf_loss(z, tags, transition, **options, reduction=reduction)
    total = -crf.crf_log_likelihood(z, tags, transition, **options).sum() / over
    assert loss.value == pytest.approx(total, rel=1e-12)
    named = {"z": z, "transition": transition, "start": options["start"], "end": options["end"]}
    for name, array in named.items():
        gradient = getattr(loss, name)
        for at in np.ndindex(array.shape):
            sides = []
            for step in (1e-5, -2e-5):
                array[at] += step
                sides.append(-crf.crf_log_likelihood(z, tags, transition, **options).sum() / over)
            array[at] += 1e-5
            assert gradient[at] == pytest.approx((sides[0] - sides[1]) / 2e-5, abs=1e-8), (name, at)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits(dtype):
    """Of a row whatever is beside it, and of all results for any number of threads."""
    z, tags, transition, options = problem(60, 40, 19, seed=4)
    z = z.astype(dtype)
    before = fastrnn.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            fastrnn.set_num_threads(threads)
            results.append(crf.crf_loss(z, tags, transition, **options))
    finally:
        fastrnn.set_num_threads(before)
    for other in results[1:]:
        for one, same in zip(results[0], other):
            np.testing.assert_array_equal(one, same)
    whole = crf.crf_loss(z, tags, transition, **options, reduction="sum")
    decoded = crf.crf_decode(z, transition, **options)
    for b, n in enumerate(options["lengths"]):
        alone = options | {"lengths": [n]}
        part = crf.crf_loss(z[:, [b]], tags[:, [b]], transition, **alone, reduction="sum")
        np.testing.assert_array_equal(part.z[:, 0], whole.z[:, b])
        np.testing.assert_array_equal(
            crf.crf_decode(z[:, [b]], transition, **alone).tags[:, 0], decoded.tags[:, b]
        )


def test_past_the_end_is_not_read():
    z, tags, transition, options = problem(6, 5, 4)
    want = crf.crf_loss(z, tags, transition, **options)
    for b, n in enumerate(options["lengths"]):
        z[n:, b], tags[n:, b] = np.nan, -5
    for one, same in zip(want, crf.crf_loss(z, tags, transition, **options)):
        np.testing.assert_array_equal(one, same)


def test_bad_input():
    z, tags, transition, _ = problem(3, 2, 4)
    with pytest.raises(ValueError, match=r"tags holds 4 at step 1 of row 0, but z has tags 0 to 3"):
        crf.crf_log_likelihood(z, np.array([[0, 0], [4, 0], [0, 0]]), transition)
    with pytest.raises(ValueError, match=r"transition has shape \(4, 3\), but z \(3, 2, 4\) needs \(4, 4\)"):
        crf.crf_decode(z, transition[:, :3])
    with pytest.raises(ValueError, match=r"tags has shape \(2, 3\), but z \(3, 2, 4\) needs \(3, 2\)"):
        crf.crf_log_likelihood(z, tags.T, transition)
    with pytest.raises(TypeError, match="tags has dtype float64"):
        crf.crf_log_likelihood(z, tags * 1.0, transition)
    with pytest.raises(ValueError, match=r"lengths\[1\] is 4, but z has T=3 steps"):
        crf.crf_marginals(z, transition, lengths=[3, 4])
    with pytest.raises(ValueError, match="every row is empty"):
        crf.crf_loss(z, tags, transition, lengths=[0, 0])
    with pytest.raises(ValueError, match="scores of row 0 add up to more than float64"):
        crf.crf_decode(np.full_like(z, 1e308), transition)
    z[1, 1, 2] = np.nan
    with pytest.raises(ValueError, match="z holds nan at step 1 of row 1"):
        crf.crf_decode(z, transition)
    with pytest.raises(ValueError, match="crf is True, but activation is 'sigmoid'"):
        fastrnn.NToN("gru", 3, 4, 5, activation="sigmoid", crf=True)


def tagger(**options):
    rng = np.random.default_rng(1)
    x = [rng.integers(0, 9, n) for n in (4, 7, 1, 0, 5)]
    y = [rng.integers(0, 5, len(row)) for row in x]
    return fastrnn.NToN("lstm", fastrnn.Embedding(9, 4), 6, 5, crf=True, seed=0, **options), x, y


def test_model_against_torch():
    torch = pytest.importorskip("torch")
    model, x, y = tagger(dtype="float64")
    loss, gradients = model.gradients(x, y)
    weights = {name: torch.tensor(value, requires_grad=True) for name, value in model.state_dict().items()}
    rnn = torch.nn.LSTM(4, 6).double()
    own = {name[4:]: value for name, value in weights.items() if name.startswith("rnn.")}
    transition, total = weights["crf.transition"], 0
    for ids, tags in zip(x, y):
        if not len(ids):
            continue
        h, _ = torch.func.functional_call(rnn, own, weights["embedding.weight"][torch.tensor(ids)][:, None])
        z = h[:, 0] @ weights["readout.weight"].T + weights["readout.bias"]
        alpha, score = weights["crf.start"] + z[0], weights["crf.start"][tags[0]] + z[0, tags[0]]
        for t in range(1, len(tags)):
            alpha = z[t] + torch.logsumexp(alpha[:, None] + transition, 0)
            score = score + transition[tags[t - 1], tags[t]] + z[t, tags[t]]
        total = total + torch.logsumexp(alpha + weights["crf.end"], 0) - score - weights["crf.end"][tags[-1]]
    want = total / sum(map(len, y))
    want.backward()
    assert abs(loss - float(want.detach())) <= 1e-8
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, weights[name].grad.numpy(), rtol=0, atol=1e-8, err_msg=name)


def test_model_learns_and_is_saved(tmp_path):
    model, x, y = tagger()
    model.fit(x, y, epochs=80, optimizer=fastrnn.Adam(0.05), progress=False)
    measured = model.evaluate(x, y)
    right = sum(int((a == b).sum()) for a, b in zip(model.predict(x), y))
    assert measured["accuracy"] == right / sum(map(len, y)) > 0.9
    for row, p in zip(x, model.predict_proba(x)):
        assert p.shape == (len(row), 5)
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    pytest.importorskip("safetensors")
    model.save(tmp_path / "tagger")
    again = fastrnn.load(tmp_path / "tagger")
    assert again.evaluate(x, y) == measured
    assert again.arguments["crf"] is True


def test_windows_of_streams_would_cut_its_paths():
    model = fastrnn.NToN("gru", fastrnn.Embedding(4, 3), 5, 3, crf=True, seed=0)
    with pytest.raises(ValueError, match=r"^bptt=2 and crf do not combine$"):
        model.fit([[1, 2, 3]], [[0, 1, 2]], epochs=1, bptt=2, progress=False)
