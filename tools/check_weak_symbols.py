# SPDX-License-Identifier: MIT
"""Fail where objects compiled for different instruction sets share a symbol.

    check_weak_symbols.py --nm nm --group avx512 a.o b.o --group avx2 c.o --group baseline d.o

Inline functions and templates are weak symbols: of all copies the linker keeps one, whichever comes first. If
std::vector<long>::resize is emitted in an object compiled with -mavx512f and in one of the baseline, the
copy with AVX-512 instructions may serve both, and a processor without AVX-512 dies of an illegal
instruction, far from the line that is at fault. Hence two rules, between groups:

  1. no symbol is defined in two (two strong ones do not link: these are weak, whatever nm calls them);
  2. no symbol defined weak in one is referred to by another (ELF only: for macOS nm does not tell weak ones).

Within a group all objects have the same flags, so that sharing is harmless. Exit status: 0 none shared,
1 some, 2 no answer.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

# "0000000000000040 W std::vector<long>::resize(unsigned long)"; an undefined symbol has no address.
LINE = re.compile(r"^[0-9a-fA-F]*\s+([A-Za-z]) (.+)$")
UNDEFINED = "Uwv"
WEAK = "WVu"


class Symbols(NamedTuple):
    """Names as the linker sees them from outside one group of objects."""

    defined: set[str]
    weak: set[str]
    mentioned: set[str]


def read_symbols(nm: str, objects: Sequence[str]) -> Symbols:
    """List the external symbols of objects; raises CalledProcessError or OSError where nm fails."""
    symbols = Symbols(set(), set(), set())
    for path in objects:  # one at a time: nm then prints no names of files, and no command line is too long
        run = subprocess.run([nm, "-g", "-C", path], check=True, capture_output=True, text=True)
        for line in run.stdout.splitlines():
            match = LINE.match(line)
            if not match:
                continue
            kind, name = match.groups()
            symbols.mentioned.add(name)
            if kind not in UNDEFINED:
                symbols.defined.add(name)
            if kind in WEAK:
                symbols.weak.add(name)
    return symbols


def find_shared(groups: Mapping[str, Symbols]) -> dict[str, list[str]]:
    """Map each symbol that breaks a rule to the groups it stands in."""
    shared = {}
    for name in sorted(set().union(*(group.defined for group in groups.values()))):
        defining = [label for label, group in groups.items() if name in group.defined]
        mentioning = [label for label, group in groups.items() if name in group.mentioned]
        weak = any(name in groups[label].weak for label in defining)
        if len(defining) > 1 or (weak and len(mentioning) > 1):
            shared[name] = mentioning
    return shared


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the groups of the command line and report."""
    parser = argparse.ArgumentParser(description="Fail where objects of instruction sets share a symbol.")
    parser.add_argument("--nm", default="nm")
    parser.add_argument("--group", nargs="+", action="append", required=True, metavar=("NAME", "OBJECT"))
    options = parser.parse_args(arguments)

    objects: dict[str, list[str]] = {}
    for name, *paths in options.group:
        objects.setdefault(name, []).extend(paths)
    empty = [name for name, paths in objects.items() if not paths]
    if empty or len(objects) < 2:
        print(f"nothing to compare: groups {sorted(objects)}, without objects {empty}", file=sys.stderr)
        return 2
    try:
        groups = {name: read_symbols(options.nm, paths) for name, paths in objects.items()}
    except subprocess.CalledProcessError as error:
        print(f"{options.nm} failed: {error.stderr.strip()}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"cannot run {options.nm}: {error}", file=sys.stderr)
        return 2
    silent = [name for name, symbols in groups.items() if not symbols.mentioned]
    if silent:  # objects of link-time optimisation, or a foreign nm: passing would prove nothing
        print(f"{options.nm} finds no symbol in group {silent}", file=sys.stderr)
        return 2

    shared = find_shared(groups)
    for name, labels in shared.items():
        print(f"shared by {', '.join(labels)}: {name}")
    counts = ", ".join(f"{name} {len(symbols.weak)}" for name, symbols in groups.items())
    print(f"{len(shared)} symbols shared between instruction sets (weak symbols: {counts})")
    return 1 if shared else 0


if __name__ == "__main__":
    sys.exit(main())
