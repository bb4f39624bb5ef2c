# SPDX-License-Identifier: MIT
"""Code in the README, the guide and public docstrings runs as it stands."""

import doctest
import importlib.util
import pkgutil
import re
from pathlib import Path

import fastrnn
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["README.md", "docs/guide.md"])
def test_python_blocks(name, tmp_path, monkeypatch, capsys):
    pytest.importorskip("safetensors", reason="the guide saves a model")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    names = {}
    for block in blocks:
        exec(block, names)


def test_docstrings():
    modules = [
        m.name for m in pkgutil.walk_packages(fastrnn.__path__, "fastrnn.") if "__main__" not in m.name
    ]
    if importlib.util.find_spec("sklearn") is None:
        modules.remove("fastrnn.sklearn")  # the only one that is nothing without its extra
    tried = 0
    for name in modules:
        result = doctest.testmod(importlib.import_module(name), extraglobs={"np": np, "fastrnn": fastrnn})
        assert result.failed == 0, name
        tried += result.attempted
    assert tried >= 10
