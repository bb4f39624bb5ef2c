# SPDX-License-Identifier: MIT
"""Files of tagged words in the form of the CoNLL tasks, and the entities that their tags mark, as seqeval counts them.

A line is a token, in the first column, and its tag, in the last; columns are apart by spaces and tabs, sentences by
blank lines, and lines of the token -DOCSTART- are no part of any. A tag is O, or a prefix, B, I, E or S, and a type:
B-LOC. IOB1, IOB2, IOE1, IOE2 and IOBES are all read by the rules of seqeval's default mode, which finds an entity in
any sequence of tags, also in one that no scheme allows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

Sentence = list[tuple[str, str]]  # (word, tag)

TAG = re.compile("O|[BIES](-.*)?")
ENDS = {"BB", "BS", "BO", "IB", "IS", "IO"}  # prefixes side by side of which the first ends an entity,
STARTS = {
    "EE",
    "EI",
    "SE",
    "SI",
    "OE",
    "OI",
}  # or the second starts one; after E and S, and at B and S, it is always so


class Entity(NamedTuple):
    """A type, and the first and the last word."""

    type: str
    first: int
    last: int


def read(path: Path) -> list[Sentence]:
    """The sentences of a file; one that cannot be read ends the program with a message that says where."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # only these are ends of lines
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"{path} cannot be read: {error}") from None
    sentences: list[Sentence] = [[]]
    for number, line in enumerate(lines, 1):
        columns = re.split("[ \t]+", line.strip(" \t"))
        if not line.strip() or columns[0] == "-DOCSTART-":
            sentences.append([])
        elif len(columns) == 1:
            raise SystemExit(f"{path}, line {number}: {columns[0]!r} has no tag in a second column")
        elif not TAG.fullmatch(columns[-1]):
            raise SystemExit(
                f"{path}, line {number}: {columns[-1]!r} is not O nor B, I, E or S with a type, as B-LOC"
            )
        else:
            sentences[-1].append((columns[0], columns[-1]))
    found = [sentence for sentence in sentences if sentence]
    if not found:
        raise SystemExit(f"{path} holds no sentence")
    return found


def entities(tags: Iterable[str]) -> list[Entity]:
    """The entities of a sentence, in the order in which they end."""
    found, begin = [], 0
    before, type_before = "O", "_"
    for at, tag in enumerate([*tags, "O"]):
        prefix, type_ = tag[0], tag[2:] or "_"
        changed, pair = type_ != type_before, before + prefix
        if before in "ES" or pair in ENDS or (before != "O" and changed):
            found.append(Entity(type_before, begin, at - 1))
        if prefix in "BS" or pair in STARTS or (prefix != "O" and changed):
            begin = at
        before, type_before = prefix, type_
    return found


class Score(NamedTuple):
    """Of entities that are right in type, first and last word; 0 where there is nothing to divide by."""

    precision: float
    recall: float
    f1: float


def scores(true: Iterable[Iterable[str]], predicted: Iterable[Iterable[str]]) -> dict[str, Score]:
    """The score of each type, sorted, and under "" that of all entities together, of the tags of sentences."""
    right: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    said: Counter[str] = Counter()
    for tags, guess in zip(true, predicted):
        truth, found = set(entities(tags)), set(entities(guess))
        for counts, some in ((right, truth & found), (wanted, truth), (said, found)):
            counts.update(name for entity in some for name in ("", entity.type))
    return {name: _score(right[name], said[name], wanted[name]) for name in sorted({"", *wanted, *said})}


def _score(right: int, said: int, wanted: int) -> Score:
    return Score(right / max(said, 1), right / max(wanted, 1), 2 * right / max(said + wanted, 1))
