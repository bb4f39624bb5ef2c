# SPDX-License-Identifier: MIT
"""How the gradient flows: norms against plain calls, spectral radii against eigenvalues of whole Jacobians."""

import json
import sys

import fastrnn
import numpy as np
import pytest
from refusal import B, H, I, T, refused, zeros
from runner import CLASSES, as_state, build, parts
from shapes import make_case


def norms(a):
    """(T,B,n) -> (T,)."""
    return np.sqrt((np.asarray(a, np.float64) ** 2).sum((1, 2)))


def test_norms_are_those_of_the_gradients(cell):
    """dL/dh_t of a single layer by hand: the gradient of a loss from t on, to the state that enters step t."""
    case = make_case(cell, 6, 3, 4, 5, seed=1)
    net = build(case, fastrnn.active(), "float64")
    state = as_state(case.state, "float64")
    flow = fastrnn.gradient_flow(net, case.x, case.dy, state=state)
    y, _ = net(case.x, state)
    np.testing.assert_allclose(flow.h[0, 0], norms(y))
    assert flow.dh.shape == flow.h.shape == (1, 1, 6)
    for t in range(6):
        _, entering = net(case.x[: t + 1], state)
        _, _, tape = net.forward(case.x[t + 1 :], entering)
        later = net.backward(tape, case.dy[t + 1 :]).state
        h = parts(later)["state0"]
        assert flow.dh[0, 0, t] == pytest.approx(norms(h[0][None] + case.dy[t : t + 1])[0])
    assert (flow.dc is None) == (len(net._STATES) == 1)


def test_dc_is_what_backward_traced():
    net = fastrnn.LSTM(I, H, 2, bidirectional=True, seed=1)
    x = np.random.default_rng(2).standard_normal((T, B, I)).astype(np.float32)
    y, _, tape = net.forward(x)
    want = net.backward(tape, y, trace=True).stats
    flow = fastrnn.gradient_flow(net, x, y)
    np.testing.assert_array_equal(flow.dh, want.dh)
    np.testing.assert_array_equal(flow.dc, want.dc)
    assert flow.dc.shape == (2, 2, T)


def test_norms_of_h_in_all_layouts(cell):
    case = make_case(cell, 6, 3, 4, 5, seed=2, num_layers=2, bidirectional=True)
    net = build(case, fastrnn.active(), "float64")
    flow = fastrnn.gradient_flow(net, case.x)
    y, _ = net(case.x)
    half = net.output_size // 2
    np.testing.assert_allclose(flow.h[1], [norms(y[..., :half]), norms(y[..., half:])])
    _, _, tape = net.forward(case.x)
    lower = tape._core.output(0)
    np.testing.assert_allclose(flow.h[0], [norms(lower[..., :half]), norms(lower[..., half:])])
    turned = build(case, fastrnn.active(), "float64", batch_first=True)
    again = fastrnn.gradient_flow(turned, case.x.transpose(1, 0, 2))
    np.testing.assert_allclose(again.h, flow.h)
    np.testing.assert_allclose(again.dh, flow.dh)
    one = fastrnn.gradient_flow(net, case.x[:, 0])
    np.testing.assert_allclose(one.h, fastrnn.gradient_flow(net, case.x[:, :1]).h)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse", "both"])
def test_a_gradient_of_one_where_each_direction_ends(cell, direction, batch_first):
    net = CLASSES[cell](I, H, direction=direction, batch_first=batch_first, seed=3, dtype="float64")
    x, lengths = np.random.default_rng(4).standard_normal((T, 3, I)), [T, 0, 2]
    dy = np.zeros((T, 3, net.output_size))
    forward, reverse = np.split(dy, 2, axis=2) if direction == "both" else (dy, dy)
    if direction != "reverse":
        forward[T - 1, 0] = forward[1, 2] = 1
    if direction != "forward":
        reverse[0, 0] = reverse[0, 2] = 1
    if batch_first:
        x, dy = x.transpose(1, 0, 2), dy.transpose(1, 0, 2)
    got = fastrnn.gradient_flow(net, x, lengths=lengths)
    np.testing.assert_array_equal(got.dh, fastrnn.gradient_flow(net, x, dy, lengths=lengths).dh)
    assert got.dh.any()


def test_rate_is_the_factor_of_a_step():
    """h_t = w h_{t-1} + u x_t, of which the Jacobian is w."""
    for direction in ("forward", "reverse", "both"):
        net = fastrnn.RNN(1, 1, nonlinearity="relu", direction=direction, bias=False, dtype="float64")
        for name, value in net.parameters().items():
            value[:] = (1.1 if "reverse" in name or direction == "reverse" else 0.9) if "hh" in name else 1
        flow = fastrnn.gradient_flow(net, np.ones((30, 2, 1)))
        want = {"forward": [0.9], "reverse": [1.1], "both": [0.9, 1.1]}[direction]
        np.testing.assert_allclose(flow.rate, [want])
    assert np.isnan(fastrnn.gradient_flow(net, np.ones((1, 2, 1))).rate).all()


# ---- spectral radius ----


def whole_jacobian(net, x, state, t, row):
    """d(states after)/d(states before) of step t of one row, by one backward call from every unit vector.

    Returns the matrix (n,n), and the layer of each of the n units.
    """
    _, before = net(x[:t], state)
    before = [a[:, row] for a in parts(before).values()]
    sizes = [a.size for a in before]
    n, ends = sum(sizes), np.cumsum(sizes)[:-1]

    def copies(a):  # (n,n) -> states of n rows
        return as_state(
            [p.reshape(n, *b.shape).swapaxes(0, 1) for p, b in zip(np.split(a, ends, axis=1), before)],
            net.dtype,
        )

    flat = np.concatenate([a.ravel() for a in before])
    _, _, tape = net.forward(np.repeat(x[t : t + 1, row : row + 1], n, axis=1), copies(np.tile(flat, (n, 1))))
    after = net.backward(tape, None, copies(np.eye(n))).state
    jacobian = np.concatenate([a.swapaxes(0, 1).reshape(n, -1) for a in parts(after).values()], axis=1)
    layers = np.concatenate([np.repeat(np.arange(len(b)), b.shape[1]) for b in before])
    return jacobian, layers


@pytest.mark.parametrize("seed", range(4))
def test_radius_is_that_of_the_whole_jacobian(cell, seed):
    case = make_case(cell, 8, 3, 4, 6, seed=seed, num_layers=2)
    net = build(case, fastrnn.active(), "float64")
    net.flat[:] *= 1 + seed
    state = as_state(case.state, "float64")
    flow = fastrnn.gradient_flow(net, case.x, state=state)
    for t, row in ((0, 0), (5, 2)):
        jacobian, layers = whole_jacobian(net, case.x, state, t, row)
        want = np.abs(np.linalg.eigvals(jacobian)).max()
        assert flow.spectral_radius(t, row=row) == pytest.approx(want, rel=0.01, abs=1e-12)
        for layer in range(2):
            own = jacobian[np.ix_(layers == layer, layers == layer)]
            want = np.abs(np.linalg.eigvals(own)).max()
            got = flow.spectral_radius(t, row=row, layer=layer)
            assert got == pytest.approx(want, rel=0.01, abs=1e-12)


def linear(matrix):
    """A net whose Jacobian at t = 0 is the matrix: relu of what is above 0."""
    net = fastrnn.RNN(1, len(matrix), nonlinearity="relu", dtype="float64")
    parameters = net.parameters()
    for value in parameters.values():
        value[:] = 0
    parameters["bias_ih_l0"][:] = 100
    parameters["weight_hh_l0"][:] = matrix
    return net


@pytest.mark.parametrize("radius", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 2, 3.0])
def test_radius_of_a_complex_pair(radius, angle):
    """A rotation in coordinates in which it is no circle: the length of J^T v swings and does not settle."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    skew = np.array([[1.0, 2.0], [0.0, 0.5]])
    net = linear(radius * skew @ turn @ np.linalg.inv(skew))
    flow = fastrnn.gradient_flow(net, np.zeros((2, 1)))
    assert flow.spectral_radius(0) == pytest.approx(radius, rel=0.01)


def test_radius_zero():
    assert fastrnn.gradient_flow(linear(np.zeros((3, 3))), np.zeros((2, 1))).spectral_radius(0) == 0
    assert fastrnn.gradient_flow(linear([[0.0, 1.0], [0.0, 0.0]]), np.zeros((2, 1))).spectral_radius(0) == 0


def test_radius_at_the_end_of_a_row():
    net = fastrnn.GRU(I, H, seed=1, dtype="float64")
    x = np.random.default_rng(2).standard_normal((T, B, I))
    flow = fastrnn.gradient_flow(net, x, lengths=[T, 2])
    assert flow.spectral_radius(row=1) == flow.spectral_radius(1, row=1) != flow.spectral_radius(0, row=1)
    refused(ValueError, ["t", 2, 1], flow.spectral_radius, 2, row=1)


def test_wrong_arguments_of_radius():
    x = zeros(T, B, I)
    radius = fastrnn.gradient_flow(fastrnn.LSTM(I, H, 2), x).spectral_radius
    refused(ValueError, ["t", T, T - 1], radius, T)
    refused(ValueError, ["row", B], radius, row=B)
    refused(ValueError, ["layer", 2], radius, layer=2)
    refused(ValueError, ["steps", 0], radius, steps=0)
    refused(ValueError, ["tolerance", -1.0], radius, tolerance=-1.0)
    refused(TypeError, ["t", "0.5"], radius, 0.5)
    both = fastrnn.gradient_flow(fastrnn.LSTM(I, H, bidirectional=True), x)
    refused(ValueError, ["spectral_radius", "bidirectional"], both.spectral_radius)
    for options in ({"dropout": 0.5}, {"input_dropout": 0.5}, {"recurrent_dropout": 0.5}, {"zoneout": 0.5}):
        masked, word = fastrnn.LSTM(I, H, 2, **options), "=".join(map(str, *options.items()))
        refused(ValueError, ["gradient_flow", word], fastrnn.gradient_flow, masked, x)
    short = fastrnn.gradient_flow(fastrnn.LSTM(I, H), x, lengths=[T, 0])
    refused(ValueError, ["spectral_radius", "row", "length", 0], short.spectral_radius, row=1)
    none = fastrnn.gradient_flow(fastrnn.LSTM(I, H), zeros(T, 0, I))
    refused(ValueError, ["spectral_radius", "B=0"], none.spectral_radius)


def test_the_rate_is_over_the_longest_row():
    net = fastrnn.GRU(I, H, bidirectional=True, seed=1)
    x = np.random.default_rng(2).standard_normal((9, 2, I)).astype(np.float32)
    got = fastrnn.gradient_flow(net, x, lengths=[3, 5]).rate
    want = fastrnn.gradient_flow(net, x[:5], lengths=[3, 5]).rate
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert (got > 0).all()
    assert np.isfinite(got).all()
    assert np.isnan(fastrnn.gradient_flow(net, x, lengths=[1, 0]).rate).all()


# ---- models ----


def test_a_model_flows_as_it_learns():
    """The gradient of the mean loss, by hand: layer, readout, softmax."""
    model = fastrnn.NToN("lstm", I, H, 2, num_layers=2, seed=1, dtype="float64")
    random = np.random.default_rng(2)
    x, labels = random.standard_normal((B, T, I)), random.integers(0, 2, (B, T))
    before = model.state_dict()
    flow = fastrnn.gradient_flow(model, x, labels)
    rows = x.transpose(1, 0, 2)
    h, _, tape = model.rnn.forward(rows)
    z = h.reshape(T * B, H) @ model.readout.weight.T + model.readout.bias
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    p[np.arange(T * B), labels.T.reshape(-1)] -= 1
    dh = (p / (T * B) @ model.readout.weight).reshape(T, B, H)
    want = model.rnn.backward(tape, dh, trace=True).stats
    np.testing.assert_allclose(flow.dh, want.dh)
    np.testing.assert_allclose(flow.dc, want.dc)
    np.testing.assert_allclose(flow.h[1, 0], norms(h))
    assert flow.spectral_radius(2, row=1) > 0
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert isinstance(model.rnn, fastrnn.LSTM)


def test_a_model_of_ids_of_any_length():
    model = fastrnn.NToN("gru", fastrnn.Embedding(6, 3), H, 2, bidirectional=True, seed=1)
    flow = fastrnn.gradient_flow(model, [[1, 2, 3], [], [4]], [[0, 1, 1], [], [0]])
    assert flow.dh.shape == (1, 2, 3)
    assert flow.dh.all()
    padded = fastrnn.gradient_flow(
        model, np.array([[1, 2, 3], [4, 5, 5]]), np.array([[0, 1, 1], [0, 0, 0]]), lengths=[3, 1]
    )
    np.testing.assert_array_equal(padded.dh, flow.dh)


# ---- what is told, and what is refused ----


def test_to_dict_is_json():
    net = fastrnn.LSTM(I, H, 2, direction=["both", "forward"], seed=1)
    flow = fastrnn.gradient_flow(net, zeros(T, B, I))
    told = json.loads(json.dumps(flow.to_dict(), allow_nan=False))
    assert told["dh"][1][1] == [None] * T
    np.testing.assert_array_equal(told["dh"][0], flow.dh[0])
    np.testing.assert_array_equal(told["dc"][1][0], flow.dc[1, 0])
    assert told["net"] == repr(net)
    assert fastrnn.gradient_flow(fastrnn.GRU(I, H), zeros(T, B, I)).to_dict()["dc"] is None


def test_repr():
    net = linear([[0.5]])
    flow = fastrnn.gradient_flow(net, np.zeros((5, 1)))
    assert repr(flow) == f"GradientFlow({net!r}: |dL/dh_t| of the last layer 0.062 at t=0, 1 at t=4)"
    assert "no steps" in repr(fastrnn.gradient_flow(net, np.zeros((0, 1))))


def test_plot(tmp_path):
    pytest.importorskip("matplotlib", reason="curves are drawn with matplotlib")
    net = fastrnn.LSTM(I, H, 2, direction=["both", "forward"], seed=1)
    flow = fastrnn.gradient_flow(net, zeros(T, B, I))
    path = tmp_path / "flow.png"
    (axes,) = flow.plot(path).axes
    assert path.read_bytes().startswith(b"\x89PNG")
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert len(lines) == 6  # h and c of three directions
    np.testing.assert_array_equal(lines["|dL/dh_t|, layer 0, reverse"].get_ydata(), flow.dh[0, 1])
    np.testing.assert_array_equal(lines["|dL/dc_t|, layer 1"].get_ydata(), flow.dc[1, 0])
    assert axes.get_yscale() == "log"
    flow.plot()


def test_a_plot_says_what_to_install(monkeypatch):
    flow = fastrnn.gradient_flow(fastrnn.GRU(I, H), zeros(T, B, I))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install fastrnn\[plot\]"):
        flow.plot()


def test_what_is_refused():
    net, model = fastrnn.LSTM(I, H), fastrnn.NToN("gru", I, H, 2)
    flow = fastrnn.gradient_flow
    refused(TypeError, ["net", "str"], flow, "net", zeros(T, B, I))
    refused(TypeError, ["net", "Stream"], flow, net.stream(), zeros(T, B, I))
    refused(ValueError, ["x", I + 1, I], flow, net, zeros(T, B, I + 1))
    refused(ValueError, ["dy", (T, B, H + 1), (T, B, H)], flow, net, zeros(T, B, I), zeros(T, B, H + 1))
    refused(
        ValueError,
        ["state", "NToN"],
        flow,
        model,
        zeros(B, T, I),
        np.zeros((B, T), int),
        state=zeros(1, B, H),
    )
    refused(ValueError, ["x", 1, 2], flow, model, zeros(B, T, I), np.zeros((1, T), int))
