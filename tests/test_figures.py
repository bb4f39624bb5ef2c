# SPDX-License-Identifier: MIT
"""The pictures of docs/topologies.md are what tools/draw_topologies.py draws."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "docs" / "figures"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def drawing(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import draw_topologies

    return draw_topologies


def test_committed_pictures_are_those_of_the_generator(drawing, tmp_path):
    drawing.main(["--to", str(tmp_path)])
    drawn = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert drawn == {path.name: path.read_bytes() for path in FIGURES.glob("*.svg")}
    assert len(drawn) >= 9


@pytest.mark.parametrize("path", sorted(FIGURES.glob("*.svg")), ids=lambda path: path.stem)
def test_picture_is_xml_without_anything_from_outside(path):
    text = path.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert root.find(f"{SVG}title").text
    assert root.find(f"{SVG}desc").text
    assert "href" not in text
    assert "url(" not in text
    assert not {element.tag for element in root.iter()} & {f"{SVG}image", f"{SVG}script", f"{SVG}style"}


@pytest.mark.parametrize("path", sorted(FIGURES.glob("*.svg")), ids=lambda path: path.stem)
def test_everything_lies_on_the_card(path):
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    width, height = (float(root.get(name)) for name in ("width", "height"))
    points = [
        (float(x), float(y))
        for shape in root.iter()
        for x, y in re.findall(r"([-\d.]+),([-\d.]+)", shape.get("points", ""))
    ]
    points += [(float(text.get("x")), float(text.get("y"))) for text in root.iter(f"{SVG}text")]
    for x, y in points:
        assert 0 < x < width
        assert 0 < y < height


def test_subscripts(drawing):
    p = drawing.Picture(100, 100, "context_to", "of h_t")
    p.text(10, 60, "h_{t-1} + x_t a", size=20)
    heading, line = ElementTree.fromstring(p.svg()).iter(f"{SVG}text")
    assert heading.text == "context_to"
    assert [(span.text, span.get("dy")) for span in line] == [
        ("t-1", "6"),
        (" + x", "-6"),
        ("t", "6"),
        (" a", "-6"),
    ]


def test_arrow_ends_where_it_should(drawing):
    p = drawing.Picture(100, 100, "an arrow", "upwards")
    p.arrow((50, 90), (50, 20))
    root = ElementTree.fromstring(p.svg())
    assert root.find(f"{SVG}polyline").get("points") == "50,90 50,28"
    assert root.find(f"{SVG}polygon").get("points").split()[0] == "50,20"
