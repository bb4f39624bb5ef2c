# SPDX-License-Identifier: MIT
"""Boxes, arrows and labels with subscripts as the text of an SVG file: what draw_topologies.py draws with.

A picture stands on a white card of its own, so that it can be read on dark pages too, and needs nothing but a
sans-serif font. The same calls give the same text.
"""

from __future__ import annotations

import math
import re
from html import escape
from typing import NamedTuple

FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
INK, GREY, ACCENT = "#1f2328", "#59636e", "#7e22ce"
KINDS = {  # fill and border of a box
    "input": ("#dbeafe", "#2563eb"),
    "state": ("#fef3c7", "#b45309"),
    "output": ("#dcfce7", "#15803d"),
    "context": ("#f3e8ff", ACCENT),
    "seed": ("#f3e8ff", ACCENT),
    "decoder": ("#ffe4e6", "#be123c"),
}
HEAD = 8  # length of an arrow's head
GAP = "\u2003\u2003"  # between equations on one line, where plain spaces would become one


class Box(NamedTuple):
    """Where a box lies: its centre and its size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> tuple[float, float]:
        """Middle of the left side."""
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> tuple[float, float]:
        """Middle of the right side."""
        return self.x + self.width / 2, self.y

    def top(self, shift: float = 0) -> tuple[float, float]:
        """A point of the upper side, so far right of its middle."""
        return self.x + shift, self.y - self.height / 2

    def bottom(self, shift: float = 0) -> tuple[float, float]:
        """A point of the lower side, so far right of its middle."""
        return self.x + shift, self.y + self.height / 2


class Picture:
    """A picture under construction.

    Args:
        width, height: in pixels.
        title: what it shows, in a few words: its visible heading.
        description: the same in a sentence, for those who cannot see it.
    """

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        self._size = (width, height)
        self._head = (title, description)
        self._elements: list[str] = []
        self.text(20, 30, title, size=17, anchor="start", bold=True)

    def text(
        self,
        x: float,
        y: float,
        label: str,
        *,
        size: int = 15,
        anchor: str = "middle",
        colour: str = INK,
        bold: bool = False,
    ) -> None:
        """A line on the baseline y; h_t and h_{t-1} get subscripts, words as context_to do not."""
        weight = ' font-weight="bold"' if bold else ""
        self._elements.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"{weight}>'
            f"{_spans(label, size)}</text>"
        )

    def lines(self, x: float, y: float, labels: list[str]) -> None:
        """Lines below each other from the baseline y, that begin at x."""
        for number, label in enumerate(labels):
            self.text(x, y + 23 * number, label, anchor="start")

    def box(self, x: float, y: float, label: str, kind: str, *, width: float = 52, height: float = 36) -> Box:
        """A box around a centre, of one of KINDS."""
        fill, border = KINDS[kind]
        self._elements.append(
            f'<rect x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width:g}" height="{height:g}" rx="8" '
            f'fill="{fill}" stroke="{border}" stroke-width="1.5"/>'
        )
        self.text(x, y + 5, label, size=16)
        return Box(x, y, width, height)

    def arrow(
        self,
        *points: tuple[float, float],
        dashed: bool = False,
        colour: str = INK,
        thick: float = 1.5,
        head: bool = True,
    ) -> None:
        """Straight pieces from point to point, with a head at the last one."""
        (x1, y1), (x2, y2) = points[-2:]
        length = math.hypot(x2 - x1, y2 - y1)
        ux, uy = (x2 - x1) / length, (y2 - y1) / length
        end = (x2 - HEAD * ux, y2 - HEAD * uy) if head else (x2, y2)
        path = " ".join(f"{x:.4g},{y:.4g}" for x, y in (*points[:-1], end))
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self._elements.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{thick:g}" '
            f'stroke-linejoin="round"{dashes}/>'
        )
        if head:
            bx, by, w = end[0], end[1], HEAD / 2
            corners = ((x2, y2), (bx - w * uy, by + w * ux), (bx + w * uy, by - w * ux))
            shape = " ".join(f"{x:.4g},{y:.4g}" for x, y in corners)
            self._elements.append(f'<polygon points="{shape}" fill="{colour}"/>')

    def frame(self, x: float, y: float, width: float, height: float, label: str) -> None:
        """A thin frame with a heading inside, around a part of the picture."""
        self._elements.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8" fill="none" '
            f'stroke="#d0d7de"/>'
        )
        self.text(x + 14, y + 25, label, anchor="start", bold=True)

    def svg(self) -> str:
        """The file's text."""
        (width, height), (title, description) = self._size, self._head
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img" font-family="{escape(FONT)}">'
        )
        card = (
            f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="10" fill="#ffffff" '
            f'stroke="#d0d7de"/>'
        )
        about = [f"<title>{escape(title)}</title>", f"<desc>{escape(description)}</desc>"]
        return "\n".join([head, *about, card, *self._elements, "</svg>"]) + "\n"


def _spans(label: str, size: int) -> str:
    """A label as text of SVG, its subscripts smaller and lower."""
    small, down = round(size * 0.72), round(size * 0.28)
    parts, lowered = [], False
    for piece in re.split(r"(_\{[^}]*\}|(?<![A-Za-z]{2})_\w)", label):
        if not piece:
            continue
        sub = piece.startswith("_") and len(piece) > 1
        shown = escape(piece[1:].strip("{}") if sub else piece, quote=False)
        dy = f' dy="{down}"' if sub else f' dy="{-down}"' if lowered else ""
        smaller = f' font-size="{small}"' if sub else ""
        parts.append(f"<tspan{smaller}{dy}>{shown}</tspan>" if dy or smaller else shown)
        lowered = sub
    return "".join(parts)
