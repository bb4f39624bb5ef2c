# SPDX-License-Identifier: MIT
"""Cases of real clients: nets and shapes as read in their source. Where T is shortened, the source says so."""

from __future__ import annotations

from typing import Any

from cases import Case


def _cases(
    label: str, source: str, cell: str, shapes: dict[str, list[tuple[int, int, int, int]]], **net: Any
) -> list[Case]:
    return [
        Case(cell, mode, *shape, label=label, source=source, **net)
        for mode, mode_shapes in shapes.items()
        for shape in mode_shapes
    ]


CLIENTS: list[Case] = [
    *_cases(
        "g2p",
        "Kyubyong/g2p g2p_en/g2p.py: encoder over the letters of a word, decoder one step a call; NumPy today",
        "gru",
        {"infer": [(8, 1, 256, 256)], "step": [(1, 1, 256, 256)]},
    ),
    *_cases(
        "silero",
        "snakers4/silero-vad src/silero_vad/tinygrad_model.py: 32 ms frames, one a call or 512 at once",
        "lstm",
        {"infer": [(512, 1, 128, 128)], "step": [(1, 1, 128, 128)]},
    ),
    *_cases(
        "rnnoise",
        "xiph/rnnoise torch/rnnoise/rnnoise.py: 10 ms frames; trained on T = 2000, here 50",
        "gru",
        {"train": [(50, 192, 256, 256)], "step": [(1, 1, 256, 256)]},
        layers=3,
    ),
    *_cases(
        "nam",
        "sdatkinson/neural-amp-modeler nam/models/recurrent.py: audio in blocks of 64 samples; a second is T = 48000, "
        "here 4800",
        "lstm",
        {"infer": [(64, 1, 1, 18), (4800, 1, 1, 18)]},
        layers=3,
    ),
    *_cases(
        "medaka",
        "nanoporetech/medaka medaka/architectures/gru.py, prediction.py: T = 10000 and, in training, 1000; here 100",
        "gru",
        {"infer": [(100, 200, 10, 128)], "train": [(100, 100, 10, 128)]},
        layers=2,
        bidirectional=True,
    ),
    *_cases(
        "qlib",
        "microsoft/qlib qlib/contrib/model/pytorch_lstm.py: Alpha360, 6 features of 60 days as (N,360), permuted",
        "lstm",
        {"infer": [(60, 2000, 6, 64)], "train": [(60, 2000, 6, 64)]},
        layers=2,
        strided=True,
    ),
    *_cases(
        "sb3",
        "Stable-Baselines-Team/stable-baselines3-contrib sb3_contrib/common/recurrent/policies.py: recurrent PPO, "
        "episodes begin inside the sequence; 64 observations are assumed",
        "lstm",
        {"train": [(128, 8, 64, 256)]},
        resets=True,
    ),
    *_cases(
        "sb3",
        "the same while it plays: 8 environments, one step a call",
        "lstm",
        {"step": [(1, 8, 64, 256)]},
    ),
    *_cases(
        "madmom",
        "CPJKU/madmom madmom/ml/nn/layers.py, features/beats.py: 100 frames a second, a minute is T = 6000, here "
        "1000; NumPy today",
        "lstm",
        {"infer": [(1000, 1, 266, 25)]},
        layers=3,
        bidirectional=True,
        peepholes=True,
    ),
    *_cases(
        "thinc",
        "explosion/thinc thinc/layers/lstm.py and pull request 304; T and N are assumed",
        "lstm",
        {"infer": [(25, 64, 300, 150)], "train": [(25, 64, 300, 150)]},
        layers=2,
        bidirectional=True,
    ),
    *_cases(
        "kraken",
        "mittagessen/kraken kraken/lib/layers.py, default_specs.py: the first of three layers over a line of text; "
        "T is assumed",
        "lstm",
        {"infer": [(200, 1, 768, 256)], "train": [(200, 1, 768, 256)]},
        bidirectional=True,
    ),
    *_cases(
        "neuralhydrology",
        "neuralhydrology/neuralhydrology examples/01-Introduction/1_basin.yml: a year of days, batch 256",
        "lstm",
        {"train": [(365, 256, 15, 20)]},
    ),
]


def clients(cells: list[str], modes: list[str], quick: bool = False) -> list[Case]:
    """Those of the given cells and modes; quick: only the streams and the shortest."""
    chosen = [case for case in CLIENTS if case.cell in cells and case.mode in modes]
    return [case for case in chosen if not quick or case.operations < 1e8]
