# SPDX-License-Identifier: MIT
"""Plant the faults that tools/check_weak_symbols.py is there for and see each of them caught.

weak_symbols_selftest.py --nm nm --cxx c++
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

CHECK = Path(__file__).resolve().parents[2] / "tools" / "check_weak_symbols.py"

# What csrc/target.cpp looks like to the linker: a strong function, inline ones in a namespace of its own.
CLEAN = """
namespace fastrnn { inline namespace %(isa)s {
template <class T> __attribute__((noinline)) T twice(T x) { return x + x; }
double table(double x) { return twice(x); }
} }
"""
# The fault of the rule's history: a member of a standard container, emitted in either object.
VECTOR = """
#include <vector>
namespace fastrnn { inline namespace %(isa)s {
void grow(std::vector<long>& v) { v.resize(v.size() + 100); }
} }
"""
# One object emits the function, the other only calls it.
DEFINES = """
namespace fastrnn { template <class T> T half(T x) { return x / 2; } template double half(double); }
"""
CALLS = """
namespace fastrnn { template <class T> T half(T x); extern template double half(double);
double quarter(double x) { return half(half(x)); } }
"""


class Case:
    """Objects of two pretended instruction sets; the check knows them by the names of their groups only."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder

    def compile(self, name: str, text: str) -> str:
        """Compile text and return the path of the object."""
        source, target = self.folder / f"{name}.cpp", self.folder / f"{name}.o"
        source.write_text(text % {"isa": name} if "%(isa)s" in text else text)
        subprocess.run([self.options.cxx, "-std=c++17", "-O0", "-c", source, "-o", target], check=True)
        return str(target)

    def check(self, a: str, b: str) -> tuple[int, str]:
        """Run the check on one object for each of two groups."""
        groups = ["--group", "avx512", a, "--group", "baseline", b]
        command = [sys.executable, CHECK, "--nm", self.options.nm, *groups]
        run = subprocess.run(command, capture_output=True, text=True)
        return run.returncode, run.stdout + run.stderr


def main() -> int:
    """Return the number of cases whose outcome is not the expected one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nm", required=True)
    parser.add_argument("--cxx", required=True)
    options = parser.parse_args()

    # what is planted, sources of the two groups, expected exit status, expected words of the report
    cases = (
        ("nothing", CLEAN, CLEAN, 0, "0 symbols shared"),
        ("a container's member in both", VECTOR, VECTOR, 1, "std::vector<long"),
        ("a definition here, a call there", DEFINES, CALLS, 1, "fastrnn::half"),
        ("an object without symbols", "", CLEAN, 2, "finds no symbol"),
    )
    wrong = 0
    if sys.platform == "darwin":
        print("skipped: a definition here, a call there: nm does not tell weak symbols of Mach-O from others")
        cases = tuple(case for case in cases if case[2] != CALLS)
    for planted, a, b, expected, words in cases:
        with tempfile.TemporaryDirectory() as folder:
            case = Case(options, Path(folder))
            status, report = case.check(case.compile("a", a), case.compile("b", b))
        right = status == expected and words in report
        wrong += not right
        print(f"{'ok' if right else 'WRONG'}: {planted}: status {status}, expected {expected}")
        if not right:
            print(report)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
