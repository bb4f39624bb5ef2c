# SPDX-License-Identifier: MIT
"""Draws the pictures of docs/topologies.md.

    python tools/draw_topologies.py                       # into docs/figures/
    python tools/draw_topologies.py --to FOLDER

Needs Python alone, and writes the same bytes each time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from svg_picture import ACCENT, GAP, GREY, Box, Picture

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
STEP = 112  # from one time step to the next
OUTPUT, STATE, INPUT, CONSTANT = 84, 168, 252, 322  # heights of the rows of boxes
GREEN = "#15803d"
BESIDE = 27  # how far right of the middle of a state the seed or context enters it

# ---- rows of an unrolled network ----


def row(p: Picture, x: float, y: float, labels: Sequence[str], kind: str, width: float = 56) -> list[Box]:
    """Boxes of all steps, from a first one at x."""
    return [p.box(x + STEP * t, y, label, kind, width=width) for t, label in enumerate(labels)]


def up(p: Picture, lower: Sequence[Box], upper: Sequence[Box], label: str) -> None:
    """An arrow from each box to the one above it, with the name of the weight."""
    for below, above in zip(lower, upper):
        p.arrow(below.top(), (below.x, above.bottom()[1]))
        p.text(below.x - 12, (below.top()[1] + above.bottom()[1]) / 2 + 5, label, colour=GREY)


def along(p: Picture, states: Sequence[Box], label: str = "W") -> None:
    """An arrow from each state to the next one."""
    for before, after in pairwise(states):
        p.arrow(before.right, after.left)
        if label:
            p.text(before.right[0] + 15, before.y - 8, label, colour=GREY)


def feed_back(p: Picture, outputs: Sequence[Box], inputs: Sequence[Box]) -> None:
    """Dashed arrows from each output to the input of the next step."""
    for before, after in zip(outputs, inputs[1:]):
        x = after.x - STEP * 0.34
        p.arrow(before.right, (x, before.y), (x, after.y), after.left, dashed=True)


def notes(p: Picture, boxes: Sequence[Box], words: Sequence[str], y: float) -> None:
    """A grey word above or below each box."""
    for box, word in zip(boxes, words):
        p.text(box.x, y, word, size=13, colour=GREY)


def feed(p: Picture, source: Box, states: Sequence[Box], label: str) -> None:
    """Arrows from a box below to each state, right of what else enters it."""
    ends = [(state.x + BESIDE, state.bottom()[1]) for state in states]
    p.arrow(source.right, (ends[-1][0], source.y), ends[-1], colour=ACCENT)
    for x, y in ends[:-1]:
        p.arrow((x, source.y), (x, y), colour=ACCENT)
    for x, y in ends:
        p.text(x + 6, y + 18, label, anchor="start", colour=ACCENT)


# ---- N to N ----


def n_to_n(crf: bool = False) -> Picture:
    """One output at each step: each by itself, or all together by a CRF."""
    p = Picture(
        500, 372, "N to N with a CRF: tags chosen together" if crf else "N to N: one output at each step",
        "Inputs x_1 to x_N enter the states h_1 to h_N through U, each state reads the one before it through W, and "
        "each gives its output through V." + (" Lines between outputs: what follows what has a score." if crf else ""),
    )  # fmt: skip
    x = row(p, 82, INPUT, ["x_1", "x_2", "x_3", "x_N"], "input")
    h = row(p, 82, STATE, ["h_1", "h_2", "h_3", "h_N"], "state")
    y = row(p, 82, OUTPUT, ["y_1", "y_2", "y_3", "y_N"], "output")
    up(p, x, h, "U")
    up(p, h, y, "V")
    along(p, h)
    notes(p, x, ["she", "loves", "new", "york"] if crf else ["i", "like", "eating", "apple"], 288)
    notes(p, y, ["O", "O", "B-LOC", "I-LOC"] if crf else ["OTHER", "OTHER", "OTHER", "FRUIT"], 60)
    said = [
        "h_t = f(U x_t + W h_{t-1})" + GAP + "y_t = g(V h_t + b)",
        "U, W and V are the same at every step.",
    ]
    if crf:
        for before, after in pairwise(y):
            p.arrow(before.right, after.left, colour=GREEN, thick=2.5, head=False)
            p.text((before.x + after.x) / 2, before.y - 9, "A", colour=GREEN)
        said = [
            "z_t = V h_t + b" + GAP + "score of y = sum of z_t[y_t] + A[y_{t-1}, y_t]",
            "P(y) = exp(score) / Z",
        ]
    p.lines(20, 326, said)
    return p


def n_to_n_both_directions() -> Picture:
    """One output at each step, of states that come from both sides."""
    p = Picture(
        500, 436, "N to N, bidirectional: outputs see both sides",
        "A second row of states runs from the last input to the first. Each output reads both states of its step.",
    )  # fmt: skip
    x = row(p, 82, 320, ["x_1", "x_2", "x_3", "x_N"], "input")
    reverse = [p.box(95 + STEP * t, 236, "←h_" + "123N"[t], "decoder", width=48) for t in range(4)]
    forward = [p.box(69 + STEP * t, 164, "→h_" + "123N"[t], "state", width=48) for t in range(4)]
    y = row(p, 82, OUTPUT, ["y_1", "y_2", "y_3", "y_N"], "output")
    for t in range(4):
        p.arrow((x[t].x - 24, x[t].top()[1]), (x[t].x - 24, forward[t].bottom()[1]))
        p.arrow(x[t].top(10), (x[t].x + 10, reverse[t].bottom()[1]))
        p.arrow((y[t].x - 15, forward[t].top()[1]), (y[t].x - 15, y[t].bottom()[1]))
        p.arrow((y[t].x + 22, reverse[t].top()[1]), (y[t].x + 22, y[t].bottom()[1]))
    for x_label, y_label, label in ((48, 290, "U"), (107, 290, "U’"), (56, 134, "V"), (114, 134, "V")):
        p.text(x_label, y_label, label, colour=GREY)
    for before, after in pairwise(forward):
        p.arrow(before.right, after.left)
        p.text(after.left[0] - 16, before.y - 8, "W", colour=GREY)
    for before, after in pairwise(reverse):
        p.arrow(after.left, before.right)
        p.text(before.right[0] + 18, before.y - 8, "W’", colour=GREY)
    notes(p, y, ["COMPANY", "OTHER", "OTHER", "OTHER"], 60)
    notes(p, x, ["apple", "hires", "many", "people"], 356)
    p.lines(
        20,
        394,
        [
            "→h_t = f(U x_t + W →h_{t-1})" + GAP + "←h_t = f(U’ x_t + W’ ←h_{t+1})",
            "y_t = g(V [→h_t ; ←h_t] + b)",
        ],
    )
    return p


# ---- one output of many states, or one context ----


def n_to_one() -> Picture:
    """One output for the sequence."""
    p = Picture(
        500, 372, "N to one: one output for the whole sequence",
        "Inputs x_1 to x_N enter the states h_1 to h_N. The last state alone gives the output Y through V.",
    )  # fmt: skip
    x = row(p, 82, INPUT, ["x_1", "x_2", "x_3", "x_N"], "input")
    h = row(p, 82, STATE, ["h_1", "h_2", "h_3", "h_N"], "state")
    y = [p.box(h[-1].x, OUTPUT, "Y", "output", width=56)]
    up(p, x, h, "U")
    up(p, h[-1:], y, "V")
    along(p, h)
    notes(p, y, ["Japan"], 60)
    notes(p, x, ["s", "a", "t", "o"], 288)
    p.lines(20, 326, ["h_t = f(U x_t + W h_{t-1})" + GAP + "Y = g(V p + b)", 'Here p = h_N, pool="last".'])
    return p


def panel(
    p: Picture, left: float, top: float, title: str, equations: list[str], reads: str, through: str = ""
) -> None:
    """What is made of h_1 .. h_N: of "all" of them, "weighted", of "both ends", or of the "last" one."""
    goal, kind = ("p", "output") if title.startswith("pool") else ("c", "context")
    colour = ACCENT if kind == "context" else GREEN
    p.frame(left, top, 330, 268, title)
    h = [
        p.box(left + 60 + 70 * t, top + 192, f"h_{'123N'[t]}", "state", width=46, height=32) for t in range(4)
    ]
    end = p.box(left + 165, top + 56, goal, kind, width=46, height=32)
    if through:
        map_ = p.box(left + 165, top + 116, through, kind, width=64, height=28)
        p.arrow(map_.top(), end.bottom(), colour=colour)
        end = map_
    along(p, h, "")
    chosen = {"last": h[-1:], "both ends": [h[0], h[-1]]}.get(reads, h)
    for t, box in enumerate(chosen):
        shift = 15 * (t - (len(chosen) - 1) / 2) if len(chosen) > 1 else 15
        p.arrow(
            box.top(),
            end.bottom(shift),
            colour=colour,
            thick=(1, 3.5, 1, 2)[t] if reads == "weighted" else 1.5,
        )
        if reads == "weighted":
            p.text(box.x + (-16, -20, 18, 18)[t], top + 160, f"a_{'123N'[t]}", colour=colour)
    for number, equation in enumerate(equations):
        p.text(left + 165, top + 233 + 22 * number, equation)


LEARNED = "a = softmax_{t}(v · tanh(W h_t + b))"


def pools() -> Picture:
    """The four ways to one vector."""
    p = Picture(
        710, 602, "N to one: what the output reads of h_1 .. h_N",
        "Four panels: the last state alone; the mean of all; the largest of all in each unit; a weighted sum of all, "
        "whose weights are learned.",
    )  # fmt: skip
    panel(p, 20, 46, 'pool="last"', ["p = h_N"], "last")
    panel(p, 360, 46, 'pool="mean"', ["p = (h_1 + ... + h_N) / N"], "all", "mean")
    panel(p, 20, 324, 'pool="max"', ["p = max(h_1, ..., h_N), unit by unit"], "all", "max")
    panel(p, 360, 324, 'pool="learned"', ["p = a_1 h_1 + ... + a_N h_N", LEARNED], "weighted")
    return p


def contexts() -> Picture:
    """The four forms of c."""
    p = Picture(
        710, 602, "N to M: the four forms of the context c",
        "Four panels: the last state itself; a map of the last state; a map of the first and the last state together; "
        "a weighted sum of all states whose weights are learned.",
    )  # fmt: skip
    panel(p, 20, 46, 'context="last"', ["c = h_N"], "last")
    panel(p, 360, 46, 'context="transform"', ["c = tanh(W h_N + b)"], "last", "tanh W")
    panel(p, 20, 324, 'context="first_last"', ["c = tanh(W [h_1 ; h_N] + b)"], "both ends", "tanh W")
    panel(p, 360, 324, 'context="sequence"', ["c = a_1 h_1 + ... + a_N h_N", LEARNED], "weighted")
    return p


# ---- one to N ----


def one_to_n(every: bool) -> Picture:
    """A sequence from a seed, at the first step or at every one."""
    where = "at every step" if every else "at the first step"
    p = Picture(
        636, 432, f"One to N: a sequence from a seed that enters {where}",
        f"The seed s enters through U {where}. Dashed arrows feed each output back as the input of the next step.",
    )  # fmt: skip
    seed = p.box(70, CONSTANT, "s", "seed", width=56)
    x = row(p, 196, INPUT, ["start", "x_2", "x_3", "x_N"], "input", 40 + 8)
    h = [p.box(200 + STEP * t, STATE, f"h_{'123N'[t]}", "state", width=64) for t in range(4)]
    y = row(p, 196, OUTPUT, ["y_1", "y_2", "y_3", "y_N"], "output")
    up(p, x, h, "F")
    along(p, h)
    for state, out in zip(h, y):
        p.arrow((out.x, state.top()[1]), out.bottom())
        p.text(out.x - 12, 131, "V", colour=GREY)
    feed_back(p, y, x)
    feed(p, seed, h if every else h[:1], "U")
    words, given = (["i", "a", "n", "end"], "Scotland") if every else (["t", "w", "o", "end"], "image of 2")
    notes(p, y, words, 60)
    notes(p, [seed], [given], 358)
    steps = (
        "h_t = f(U s + F x_t + W h_{t-1})"
        if every
        else f"h_1 = f(U s + F x_1 + W h_0){GAP}h_t = f(F x_t + W h_{{t-1}})"
    )
    p.lines(20, 390, [steps, f"y_t = g(V h_t + b){GAP}dashed: x_t = y_{{t-1}}, with feedback=True"])
    return p


# ---- N to M ----


def n_to_m(to: str) -> Picture:
    """Encoder and decoder, c given to the state, to the inputs, or to both."""
    what = {
        "state": "the decoder begins with c",
        "input": "the decoder reads c at every step",
        "both": "the decoder begins with c and reads it at every step",
    }[to]
    p = Picture(
        860, 432, f"N to M, context_to=\"{to}\": {what}",
        f"An encoder reads x_1 to x_N into h_1 to h_N, of which the context c is made; {what}. Dashed arrows feed each "
        "output back as the input of the next step.",
    )  # fmt: skip
    x = row(p, 62, INPUT, ["x_1", "x_2", "x_N"], "input")
    h = row(p, 62, STATE, ["h_1", "h_2", "h_N"], "state")
    c = p.box(424, CONSTANT, "c", "context", width=56)
    up(p, x, h, "U")
    along(p, h)
    bend = h[-1].x + 62
    p.arrow(h[-1].right, (bend, STATE), (bend, CONSTANT), c.left, colour=ACCENT)
    inputs = [p.box(548 + STEP * t, INPUT, ("start", "y_1", "y_2")[t], "input", width=48) for t in range(3)]
    s = [p.box(552 + STEP * t, STATE, f"s_{'12M'[t]}", "decoder", width=64) for t in range(3)]
    y = row(p, 548, OUTPUT, ["y_1", "y_2", "y_M"], "output")
    up(p, inputs, s, "F")
    for state, out in zip(s, y):
        p.arrow((out.x, state.top()[1]), out.bottom())
        p.text(out.x - 12, 131, "V", colour=GREY)
    s0 = p.box(424, STATE, "s_0" if to != "input" else "0", "decoder", width=56)
    along(p, [s0, *s])
    if to != "input":
        p.arrow(c.top(), s0.bottom(), colour=ACCENT)
    if to != "state":
        feed(p, c, s, "W_c")
    feed_back(p, y, inputs)
    notes(p, x, ["i", "am", "hungry"], 288)
    notes(p, y, ["j’ai", "faim", "end"], 60)
    p.text(174, 132, "encoder", colour=GREY)
    p.text(424, 132, "decoder", colour=GREY)
    begin = "s_0 = 0" if to == "input" else "s_0 = h_N, or tanh(W_b c + b)"
    entering, once = ("", "") if to == "state" else (" + W_c c", f"{GAP}W_c c is computed once")
    p.lines(20, 390, [
        f"h_t = f(U x_t + W h_{{t-1}}){GAP}c = h_N, or another form of c{GAP}{begin}",
        f"s_t = f(F E[y_{{t-1}}]{entering} + W s_{{t-1}}){GAP}y_t = g(V s_t + b){once}",
    ])  # fmt: skip
    return p


# ---- attention ----


def memory(p: Picture, left: float, top: float) -> Box:
    """The states of an encoder, and c_t as attention makes it of them."""
    step = STEP * 0.75
    h = [p.box(left + step * t, top + 210, f"h_{'123N'[t]}", "state", width=50) for t in range(4)]
    x = [p.box(left + step * t, top + 286, f"x_{'123N'[t]}", "input", width=50) for t in range(4)]
    context = p.box(left + step * 1.5, top + 100, "c_t", "context", width=60)
    along(p, h, "")
    for t, (below, above) in enumerate(zip(x, h)):
        p.arrow(below.top(), above.bottom())
        p.arrow(above.top(), context.bottom(15 * (t - 1.5)), colour=ACCENT, thick=(1, 1, 4, 1.5)[t])
        p.text(above.x + (-18, -24, 28, 24)[t], top + 174, f"a_{'123N'[t]}", colour=ACCENT)
    return context


def attention_panel(p: Picture, top: float, late: bool) -> None:
    """One step of a decoder that asks with its state s_t (late), or with the one before."""
    p.frame(20, top, 790, 400, 'attention="luong"' if late else 'attention="bahdanau"')
    c = memory(p, 70, top)
    before, state = (p.box(x, top + 210, s, "decoder", width=60) for x, s in ((490, "s_{t-1}"), (650, "s_t")))
    token = p.box(650, top + 286, "y_{t-1}", "input", width=60)
    joined = p.box(650, top + 100, "s̃_t", "decoder", width=60)
    out = p.box(650, top + 32, "y_t", "output", width=60)
    for arrow in ((before.right, state.left), (token.top(), state.bottom()), (state.top(), joined.bottom())):
        p.arrow(*arrow)
    p.arrow(joined.top(), out.bottom())
    p.text(638, top + 71, "V", colour=GREY)
    p.text(570, top + 202, "W", colour=GREY)
    p.text(638, top + 253, "F", colour=GREY)
    p.arrow(c.right, joined.left, colour=ACCENT)
    asks, height = (state.top(-18) if late else before.top()), top + 168
    p.arrow(asks, (asks[0], height), (378, height), colour=GREY)
    p.text(392, height - 8, "asks", anchor="start", colour=GREY)
    if late:
        fed = p.box(752, top + 286, "s̃_{t-1}", "decoder", width=60)
        p.arrow(fed.top(), (fed.x, state.y), state.right, dashed=True)
        p.text(fed.x, top + 326, "input_feeding", size=13, colour=GREY)
    else:
        p.arrow((560, c.y), (560, top + 160), (632, top + 160), state.top(-18), colour=ACCENT)
    p.lines(40, top + 358, [
        f"a_i = softmax_{{i}}(s_t · h_i), or of s_t · W_a h_i{GAP}c_t = a_1 h_1 + ... + a_N h_N"
        if late
        else f"a_i = softmax_{{i}}(v · tanh(W_q s_{{t-1}} + W_m h_i)){GAP}c_t = a_1 h_1 + ... + a_N h_N",
        f"s_t = f(F [E[y_{{t-1}}] ; {'s̃_{t-1}' if late else 'c_t'}] + W s_{{t-1}}){GAP}"
        f"s̃_t = tanh(W_c [c_t ; s_t] + b_c){GAP}y_t = g(V s̃_t + b)",
    ])  # fmt: skip


def attention() -> Picture:
    """Both attentions at one step of the decoder."""
    p = Picture(
        830, 876, "N to M with attention: a context c_t of its own for each step",
        "Two panels. Luong: the state s_t of the decoder asks which h_i count, and the context is joined to it. "
        "Bahdanau: the state s_{t-1} asks, and the context enters the next state.",
    )  # fmt: skip
    attention_panel(p, 46, late=True)
    attention_panel(p, 460, late=False)
    return p


PICTURES: dict[str, Callable[[], Picture]] = {
    "n_to_n": n_to_n,
    "n_to_n_crf": lambda: n_to_n(crf=True),
    "n_to_n_bidirectional": n_to_n_both_directions,
    "n_to_one": n_to_one,
    "n_to_one_pools": pools,
    "one_to_n_first": lambda: one_to_n(every=False),
    "one_to_n_every": lambda: one_to_n(every=True),
    "contexts": contexts,
    "n_to_m_state": lambda: n_to_m("state"),
    "n_to_m_input": lambda: n_to_m("input"),
    "n_to_m_both": lambda: n_to_m("both"),
    "attention": attention,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Writes all pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", type=Path, default=FIGURES, help="folder, docs/figures by default")
    folder = parser.parse_args(argv).to
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        (folder / f"{name}.svg").write_bytes(draw().svg().encode())


if __name__ == "__main__":
    main()
