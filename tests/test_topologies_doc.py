# SPDX-License-Identifier: MIT
"""What docs/topologies.md says is so.

Its code gives the results beside it, its tables name all parameters and options, its links lead somewhere.
"""

import ast
import re
from pathlib import Path

import fastrnn
import numpy as np
import pytest
from fastrnn.options import ModelOptions

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "topologies.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))
FORMS = {"N to N": "NToN", "N to one": "NToOne", "One to N": "OneToN", "N to M": "NToM"}
GATES = {"rnn_tanh": 1, "gru": 3, "lstm": 4}


def plain(value):
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("section", FORMS)
def test_code_gives_what_it_says(section):
    blocks = re.findall(r"```python\n(.*?)```", SECTIONS[section], re.DOTALL)
    assert blocks
    for block in blocks:
        lines = block.rstrip().splitlines()
        assert len(lines) <= 5
        names = {"fastrnn": fastrnn}
        exec("\n".join(lines[:-1]), names)
        expression, said = lines[-1].split("  # ")
        assert type(names["model"]).__name__ == FORMS[section]
        assert plain(eval(expression, names)) == ast.literal_eval(said)


def table(section):
    """{name: shape} of a section's parameters."""
    return dict(re.findall(r"^\| `([a-z_]+\.[a-z0-9_]+)` \| `(\(.*?\))` \|", SECTIONS[section], re.MULTILINE))


def models(form):
    """Models of all options that change what parameters there are; every size is another number."""
    words = fastrnn.Embedding(11, 6)
    if form == "NToN":
        return [
            fastrnn.NToN("lstm", words, 5, 3, bidirectional=True),
            fastrnn.NToN("rnn_tanh", (words, 2), 5, 3),
            fastrnn.NToN("gru", words, 6, 11, tie=True),
            fastrnn.NToN("gru", words, 5, 3, crf=True),
        ]
    if form == "NToOne":
        return [
            fastrnn.NToOne("gru", words, 5, 3, pool=pool, bidirectional=pool != "max")
            for pool in ("last", "mean", "max", "learned")
        ]
    if form == "OneToN":
        return [
            fastrnn.OneToN("lstm", words, 5, 3, feedback=True, embedding=4),
            fastrnn.OneToN("gru", 7, 5, 3, feed="every"),
            fastrnn.OneToN("gru", 7, 5, 3, feedback=True, activation="linear"),
        ]
    return [
        fastrnn.NToM(
            "gru", words, 5, 3, context=context, context_to=to, embedding=4, decoder_cell="lstm",
            decoder_hidden=7, decoder_layers=2, bidirectional=context != "last",
        )
        for context in ("last", "transform", "first_last", "sequence")
        for to in ("state", "input", "both")
    ] + [
        fastrnn.NToM("lstm", words, 5, 3, embedding=4, attention="luong", score="dot"),
        fastrnn.NToM("gru", words, 5, 3, embedding=4, decoder_hidden=7, attention="luong", input_feeding=False),
        fastrnn.NToM("gru", words, 5, 3, decoder_hidden=7, attention="luong", bidirectional=True),
        fastrnn.NToM("gru", words, 5, 3, decoder_hidden=7, attention="bahdanau", bidirectional=True),
    ]  # fmt: skip


def sizes(model):
    """What the letters of the tables stand for."""
    a = model.arguments
    embedding, features = fastrnn.topologies.inputs.split(a["inputs"])
    E = 0 if embedding is None else embedding.size
    H, K, D = a["hidden"], a["outputs"], 1 + bool(a.get("bidirectional"))
    known = {"E": E, "I": E + features, "H": H, "K": K, "D": D, "G": GATES[a["cell"]]}
    known["V"] = None if embedding is None else embedding.vocabulary
    by_class = a["activation"] == "softmax"
    known["X"] = 0 if not a.get("feedback") else (a["embedding"] or H) if by_class else K
    if isinstance(model, fastrnn.NToM):
        known |= {"H2": a["decoder_hidden"], "G2": GATES[a["decoder_cell"]]}
        fed = {"luong": a["decoder_hidden"] if a.get("input_feeding", True) else 0, "bahdanau": D * H}
        known["A"] = fed.get(a.get("attention"), 0)
        known["X"] = a["embedding"] or a["decoder_hidden"]
        known["S"] = D * H * (2 if a["context"] == "first_last" else 1)
        known["B"] = a["decoder_layers"] * a["decoder_hidden"] * (2 if a["decoder_cell"] == "lstm" else 1)
    return known


@pytest.mark.parametrize(("section", "form"), FORMS.items())
def test_tables_name_all_parameters_and_their_shapes(section, form):
    said, seen = table(section), set()
    for model in models(form):
        for name, array in model.parameters().items():
            if name.endswith("_reverse") or "_l1" in name:
                continue  # the head of the page tells of them
            assert array.shape == eval(said[name], sizes(model)), (model, name)
            seen.add(name)
    assert seen == said.keys()


def test_options_stand_in_the_table():
    (row,) = re.findall(r"^\| of its own \| (.*) \|$", SECTIONS["Options"], re.MULTILINE)
    shared = set(re.findall(r"`(\w+)`", SECTIONS["Options"].split("All have")[1]))
    for cell, form in zip(row.split(" | "), FORMS.values()):
        arguments = set(getattr(fastrnn, form).__init__.__kwdefaults__)
        assert set(re.findall(r"`(\w+)`", cell)) == arguments - shared - {"activation", "loss"}
    assert ModelOptions.__annotations__.keys() <= set(re.findall(r"`(\w+)=?`", SECTIONS["Options"]))


def test_links_and_pictures_are_there():
    targets = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert len(targets) > 10
    for target in targets:
        path, _, anchor = target.partition("#")
        text = (DOCS / path).read_text(encoding="utf-8") if path else TEXT
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert not anchor or anchor in [
            re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-") for h in headings
        ]
    shown = {Path(target).name for target in targets if target.endswith(".svg")}
    assert shown == {path.name for path in (DOCS / "figures").glob("*.svg")}
