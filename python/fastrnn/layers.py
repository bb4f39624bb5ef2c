# SPDX-License-Identifier: MIT
"""Recurrent layers: torch.nn's RNN, LSTM and GRU on NumPy arrays.

What they share stands in `recurrent.py`, the equations of the cells in docs/cells.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from . import _check
from .options import LAYER_KEYWORDS
from .recurrent import Recurrent
from .signatures import shows

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import LayerOptions


class RNN(Recurrent):
    """Elman network (Elman 1990), as torch.nn.RNN:  h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), y_t = h_t.

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: L; layer l reads the y of layer l-1.
        nonlinearity: f, "tanh" or "relu".
        bias: True or "two": b_ih and b_hh; "one": b_ih alone; False or "none": neither.
        batch_first: x and y are (B,T,..) instead of (T,B,..).
        bidirectional: each layer also runs from the end to the start; y holds both, (T,B,2H).
        direction: "forward", "reverse" or "both", of all layers or one word for each; instead of bidirectional.
        dropout: probability p by which each number that a layer hands to the next one is 0 in a training forward, and
            divided by 1 - p otherwise, as torch.nn's.
        variational: one mask of dropout for all steps of a sequence (Gal & Ghahramani 2016, arXiv:1512.05287).
        input_dropout: the same of x, one mask for all steps of a sequence, as `dropout` of Keras' layers.
        recurrent_dropout: the same of h_{t-1} where W_hh multiplies it, one mask for all steps of a sequence (Gal &
            Ghahramani 2016), as in Keras; not with "bfloat16".
        zoneout: probability by which a number of h, and of c, keeps its previous value in a training forward (Krueger
            et al. 2016, arXiv:1606.01305), or the pair (p_h, p_c); otherwise states are what is expected of it,
            p * previous + (1 - p) * new. Not with "bfloat16".
        learn_state: what a call without a state begins with is made of parameters, h0 (L*D,H) and for LSTM c0, zero at
            first, instead of zeros; a reset still means zeros.
        init: start values: "uniform", torch's; "xavier", "orthogonal", "identity" (relu) or "chrono" (LSTM, GRU; with
            t_max, the longest dependence in steps), whose equations and sources stand in init.py.
        forget_bias: of LSTM: start value of the bias of the forget gate, such as 1.0.
        dtype: float32 or float64, of parameters and results. "bfloat16": parameters and results are float32, but what
            products multiply (weights, x, h, and gradients on their way back) is rounded to bfloat16, 8 bits of
            precision; about twice as fast where the processor has AVX512_BF16, slower elsewhere
            (docs/performance.md).
        device: "cpu", or "cuda" or "cuda:N": parameters, x, y and gradients are arrays of NumPy all the same, copied to
            the GPU and back (`fastrnn.cuda`). There dtype may also be "float16", products in the manner of "bfloat16".
        allow_tf32: on a GPU, products of float32 on tensor cores, of numbers rounded to 11 bits; layers with
            recurrent_dropout, zoneout, layer_norm, proj_size or reset_after=False multiply in float32 all the same.
        seed: of numpy.random.default_rng(seed), which draws the start values, U(-1/sqrt(H), 1/sqrt(H)) with
            init="uniform", and then the seeds of masks.

    Raises:
        ValueError: a size is below 1, a word unknown, or the sizes together cannot be addressed.
        TypeError: an argument is of a wrong type, or dtype is another one.

    >>> net = RNN(3, 4, seed=0)
    >>> y, h = net(np.zeros((5, 2, 3), np.float32))
    >>> y.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """

    @shows(LAYER_KEYWORDS)
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        **options: Unpack[LayerOptions],
    ) -> None:
        self.nonlinearity = _check.choice("nonlinearity", nonlinearity, ("tanh", "relu"))
        cell = f"rnn_{self.nonlinearity}"
        super().__init__(cell, input_size, hidden_size, num_layers, options)

    def _options(self) -> dict[str, Any]:
        return super()._options() | (
            {} if self.nonlinearity == "tanh" else {"nonlinearity": self.nonlinearity}
        )


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, forget gate Gers et al. 2000), as torch.nn.LSTM.

        i = sigmoid(W_ii x_t + b_ii + W_hi h_{t-1} + b_hi)      f, o alike      g = tanh(...)
        c_t = f * c_{t-1} + i * g                               h_t = o * tanh(c_t) = y_t

    Rows of the weights hold the gates in the order i f g o. The state is (h, c). Arguments as in `RNN`.

    peepholes=True (Gers, Schraudolph & Schmidhuber 2002) lets the gates of a unit see its own memory: p_i c_{t-1},
    p_f c_{t-1} and p_o c_t are added before the sigmoids; weight_ch_l0 (3H,) holds p_i p_f p_o.

    proj_size=P (Sak, Senior & Beaufays 2014), 0 < P < H, as in torch: h_t = W_hr (o * tanh(c_t)) of width P, and so
    are y and the state h; weight_hr_l0 (P,H), weight_hh_l0 (4H,P).

    layer_norm=True (Ba, Kiros & Hinton 2016): W_ih x_t and W_hh h_{t-1} are normalised over their 4H numbers, and c_t
    over its H where the output sees it; norm_ih_l0 and norm_hh_l0 (4H,), norm_cell_l0 and norm_cell_bias_l0 (H,). The
    state c stays as it is. docs/cells.md has the equations.

    At most one of the three; the last two not with dtype="bfloat16".

    >>> net = LSTM(3, 4, bidirectional=True, seed=0)
    >>> y, (h, c) = net(np.zeros((5, 2, 3), np.float32))
    >>> y.shape, h.shape, c.shape
    ((5, 2, 8), (2, 2, 4), (2, 2, 4))
    """

    _STATES = ("h", "c")
    _UNIT_ROLES: ClassVar[Mapping[str, tuple[tuple[str, int], ...]]] = {
        "lstm_peephole": (("weight_ch", 3),),
        "lstm_layer_norm": (("norm_ih", 4), ("norm_hh", 4), ("norm_cell", 1), ("norm_cell_bias", 1)),
    }

    @shows(LAYER_KEYWORDS)
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        peepholes: bool = False,
        proj_size: int = 0,
        layer_norm: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        self.peepholes = _check.flag("peepholes", peepholes)
        self.layer_norm = _check.flag("layer_norm", layer_norm)
        self.proj_size = _check.projection(proj_size, hidden_size)
        cells = {"peepholes": "lstm_peephole", "proj_size": "lstm_projected", "layer_norm": "lstm_layer_norm"}
        chosen = [name for name in cells if getattr(self, name)]
        _check.one_of(*chosen)
        super().__init__(
            cells[chosen[0]] if chosen else "lstm",
            input_size,
            hidden_size,
            num_layers,
            options,
            proj_size=self.proj_size,
            not_in_bfloat16=next((name for name in chosen if name != "peepholes"), None),
        )

    def _options(self) -> dict[str, Any]:
        names = ("peepholes", "proj_size", "layer_norm")
        return super()._options() | {name: getattr(self, name) for name in names if getattr(self, name)}


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014), reset gate after the product, as torch.nn.GRU.

        r = sigmoid(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)      z alike
        n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn))   h_t = (1 - z) * n + z * h_{t-1} = y_t

    Rows of the weights hold the gates in the order r z n. Arguments as in `RNN`.

    reset_after=False is the GRU of the paper, with the reset before the product: n = tanh(W_in x_t + b_in + W_hn (r *
    h_{t-1}) + b_hn).

    layer_norm=True (Ba, Kiros & Hinton 2016): W_ih x_t and W_hh h_{t-1} are normalised over their 3H numbers;
    norm_ih_l0 and norm_hh_l0 (3H,). docs/cells.md has the equations.

    One of the two at most, and not with dtype="bfloat16".

    >>> net = GRU(3, 4, num_layers=2, seed=0)
    >>> y, h = net(np.zeros((5, 2, 3), np.float32))
    >>> y.shape, h.shape
    ((5, 2, 4), (2, 2, 4))
    """

    _UNIT_ROLES: ClassVar[Mapping[str, tuple[tuple[str, int], ...]]] = {
        "gru_layer_norm": (("norm_ih", 3), ("norm_hh", 3)),
    }

    @shows(LAYER_KEYWORDS)
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        reset_after: bool = True,
        layer_norm: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        self.reset_after = _check.flag("reset_after", reset_after)
        self.layer_norm = _check.flag("layer_norm", layer_norm)
        before = {} if self.reset_after else {"reset_after=False": "gru_reset_before"}
        cells = before | ({"layer_norm": "gru_layer_norm"} if self.layer_norm else {})
        _check.one_of(*cells)
        chosen, cell = next(iter(cells.items()), (None, "gru"))
        super().__init__(cell, input_size, hidden_size, num_layers, options, not_in_bfloat16=chosen)

    def _options(self) -> dict[str, Any]:
        chosen: dict[str, Any] = {} if self.reset_after else {"reset_after": False}
        return super()._options() | chosen | ({"layer_norm": True} if self.layer_norm else {})


def _projected(input_size: int, hidden_size: int, num_layers: int = 1, **options: Any) -> LSTM:
    """An LSTM whose h has half the width of c, but at least 1, unless proj_size says another one."""
    return LSTM(input_size, hidden_size, num_layers, **{"proj_size": max(1, hidden_size // 2), **options})


class IndRNN(Recurrent):
    """Independently recurrent network (Li, Li, Cook, Zhu & Gao 2018): each unit sees its own h alone.

        h_t = f(W_ih x_t + b_ih + b_hh + u * h_{t-1}) = y_t

    f is relu or tanh; u, weight_hh_l0 (H,), is a number a unit. The gradient through n steps is a product of n numbers
    of one unit, which |u| near 1 keeps in bounds, and not a product of matrices. Arguments as in `RNN`.

    >>> net = IndRNN(3, 4, num_layers=2, seed=0)
    >>> net.parameters()["weight_hh_l0"].shape
    (4,)
    """

    _UNIT_ROLES: ClassVar[Mapping[str, tuple[tuple[str, int], ...]]] = {
        "indrnn_tanh": (("weight_hh", 1),),
        "indrnn_relu": (("weight_hh", 1),),
    }

    @shows(LAYER_KEYWORDS)
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "relu",
        **options: Unpack[LayerOptions],
    ) -> None:
        self.nonlinearity = _check.choice("nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(f"indrnn_{self.nonlinearity}", input_size, hidden_size, num_layers, options)

    def _options(self) -> dict[str, Any]:
        return super()._options() | (
            {} if self.nonlinearity == "relu" else {"nonlinearity": self.nonlinearity}
        )


#: How a layer of each cell is made, by the names of csrc/cells/cells.def
CELLS: Mapping[str, Callable[..., Recurrent]] = {
    "rnn_tanh": partial(RNN, nonlinearity="tanh"),
    "rnn_relu": partial(RNN, nonlinearity="relu"),
    "gru": GRU,
    "lstm": LSTM,
    "lstm_peephole": partial(LSTM, peepholes=True),
    "indrnn_tanh": partial(IndRNN, nonlinearity="tanh"),
    "indrnn_relu": partial(IndRNN, nonlinearity="relu"),
    "gru_reset_before": partial(GRU, reset_after=False),
    "gru_layer_norm": partial(GRU, layer_norm=True),
    "lstm_projected": _projected,
    "lstm_layer_norm": partial(LSTM, layer_norm=True),
}
