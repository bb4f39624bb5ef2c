# SPDX-License-Identifier: MIT
"""Run what uses the CUDA library on the CPU, under the emulator in tools/ptxemu. No GPU and no driver is needed.

    cuda_emulation.py build              build both, and print the variables that a process must have
    cuda_emulation.py run -- COMMAND     build both, and run COMMAND with these variables

The emulator stands in for libcudart.so.13, so that it must be the first one the loader finds: LD_LIBRARY_PATH is read
when a process starts and cannot be set from within. FASTRNN_CUDA_LIBRARY names the library to load, built with PTX only
and linked against the shared runtime. PTXEMU_SEED, PTXEMU_WEAK and the others of tools/ptxemu/README.md pass through.

Everything is built under build/emulated, or --cache, and anew only where a source has changed. nvcc 13 is looked
for in --nvcc, CUDACXX, PATH and the packages of PyPI, in this order. Exit status of build: 0, or 1 with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "emulated"
CUDA_RELEASE = 13  # of libcudart.so, which the emulator stands in for
PACKAGES = "cuda-toolkit[nvcc,cudart,cccl,crt,nvvm]==13.0.*"
EMULATOR = "ptxemu"  # folders under the cache
LIBRARY = "cuda"
DEFINITIONS = {
    "FASTRNN_CUDA": "ON",
    "FASTRNN_CUDA_ONLY": "ON",
    "CMAKE_CUDA_RUNTIME_LIBRARY": "Shared",
    "CMAKE_CUDA_ARCHITECTURES": "80-virtual",
    "CMAKE_CUDA_FLAGS": "--no-compress -lineinfo",
    "CMAKE_SKIP_RPATH": "ON",  # a path in the library would win over LD_LIBRARY_PATH
}


class EmulationError(RuntimeError):
    """Why there is no emulation, and what would help."""


class Compiler(NamedTuple):
    """Where nvcc is, and which of the places that are searched named it."""

    path: Path
    origin: str


def find_nvcc(
    argument: str | None = None, environ: Mapping[str, str] = os.environ, folders: Iterable[str] = sys.path
) -> Compiler:
    """Find nvcc: by argument, in CUDACXX, in PATH, in the packages under folders; a name given and wrong is an error.

    Raises EmulationError where there is none, or where what was named cannot be run.
    """
    for origin, name in (("--nvcc", argument), ("CUDACXX", environ.get("CUDACXX"))):
        if name:
            path = shutil.which(name, path=environ.get("PATH", ""))
            if path is None:
                raise EmulationError(f"{origin} names {name}, which is no program that can be run")
            return Compiler(Path(path).absolute(), origin)
    path = shutil.which("nvcc", path=environ.get("PATH", ""))
    if path is not None:
        return Compiler(Path(path).absolute(), "PATH")
    for folder in folders:
        packaged = Path(folder or ".", "nvidia", f"cu{CUDA_RELEASE}", "bin", "nvcc").absolute()
        if os.access(packaged, os.X_OK):
            return Compiler(packaged, "PyPI")
    raise EmulationError(
        f"no nvcc by --nvcc, in CUDACXX, in PATH or among the packages of {sys.executable}: "
        f"install CUDA {CUDA_RELEASE}, or pip install '{PACKAGES}'"
    )


def check_release(compiler: Compiler) -> None:
    """Raise EmulationError unless nvcc is of the release whose runtime the emulator stands in for."""
    try:
        run = subprocess.run([str(compiler.path), "--version"], capture_output=True, text=True, check=False)
        said = run.stdout + run.stderr
    except OSError as error:
        said = str(error)
    release = re.search(r"release (\d+)\.\d+", said)
    if release is None:
        last = (said.strip().splitlines() or ["nothing"])[-1]
        raise EmulationError(f"{compiler.path} ({compiler.origin}) does not tell its release, but: {last}")
    if int(release[1]) != CUDA_RELEASE:
        raise EmulationError(
            f"{compiler.path} ({compiler.origin}) is of {release[0]}, the emulator stands in for the runtime of "
            f"release {CUDA_RELEASE}: name another nvcc by --nvcc or CUDACXX, or pip install '{PACKAGES}'"
        )


def complete_toolkit(nvcc: Path, cache: Path) -> Path:
    """Give the packages of PyPI the layout that nvcc and CMake look for, by links under cache; returns nvcc in there.

    They have libraries in lib alone, where nvcc looks in lib64, and libcudart.so.13 without the name that linkers know.
    nvcc finds the rest of its toolkit from the path it is called by. Any other nvcc is returned as it is.
    """
    toolkit = nvcc.parent.parent
    if (toolkit / "lib64").exists() or not (toolkit / "nvvm").exists():
        return nvcc
    view = cache / "toolkit"
    shutil.rmtree(view, ignore_errors=True)
    (view / "bin").mkdir(parents=True)  # a folder, not a link, which bin/.. would follow
    (view / "lib").mkdir()
    for entry in toolkit.iterdir():
        if entry.name not in ("bin", "lib"):
            (view / entry.name).symlink_to(entry)
    for entry in (*(toolkit / "bin").iterdir(), *(toolkit / "lib").iterdir()):
        (view / entry.parent.name / entry.name).symlink_to(entry)
    (view / "lib64").symlink_to("lib")
    linker_name = view / "lib" / "libcudart.so"
    if not linker_name.exists():
        linker_name.symlink_to(f"libcudart.so.{CUDA_RELEASE}")
    return view / "bin" / nvcc.name


def find_program(name: str) -> str:
    """Find a program in PATH or beside this Python, where pip puts it; raises EmulationError."""
    path = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if path is None:
        raise EmulationError(f"{name} is neither in PATH nor beside {sys.executable}: pip install {name}")
    return path


def run_quietly(command: Sequence[str], environ: Mapping[str, str]) -> None:
    """Run a command; raises EmulationError with all that it said where it fails."""
    run = subprocess.run(
        command, env=dict(environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if run.returncode:
        raise EmulationError(f"{run.stdout}\nfailed with status {run.returncode}: {shlex.join(command)}")


def cmake_build(source: Path, folder: Path, definitions: Mapping[str, str], target: str, nvcc: Path) -> None:
    """Build a target of a CMake project in Release, configured anew only where definitions are not those of last time.

    CMake forgets definitions where a compiler changes in a folder that it knows; hence the folder's cache goes first.
    """
    cmake, ninja = find_program("cmake"), find_program("ninja")
    environ = {**os.environ, "CUDACXX": str(nvcc)}
    given = {"CMAKE_BUILD_TYPE": "Release", "CMAKE_MAKE_PROGRAM": ninja, **definitions}
    configure = [cmake, "-G", "Ninja", "-S", str(source), "-B", str(folder)]
    configure += [f"-D{name}={value}" for name, value in given.items()]
    record = folder / "configured_by.txt"
    if not record.exists() or record.read_text() != shlex.join(configure):
        record.unlink(missing_ok=True)
        (folder / "CMakeCache.txt").unlink(missing_ok=True)
        shutil.rmtree(folder / "CMakeFiles", ignore_errors=True)
        run_quietly(configure, environ)
        record.write_text(shlex.join(configure))
    run_quietly([cmake, "--build", str(folder), "--target", target], environ)


@contextlib.contextmanager
def alone(cache: Path) -> Iterator[None]:
    """Wait until no other process builds in cache: several may start at once, each with a seed of its own."""
    import fcntl

    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def environment(cache: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that a process under emulation must have, with those of the emulator that are set."""
    emulator = str(cache / EMULATOR)
    others = [
        folder for folder in environ.get("LD_LIBRARY_PATH", "").split(":") if folder not in ("", emulator)
    ]
    return {
        "LD_LIBRARY_PATH": ":".join([emulator, *others]),
        "FASTRNN_CUDA_LIBRARY": str(cache / LIBRARY / "libfastrnn_cuda.so"),
        **{name: value for name, value in environ.items() if name.startswith("PTXEMU_")},
    }


def build(nvcc: str | None = None, cache: Path = CACHE, root: Path = ROOT) -> dict[str, str]:
    """Build the emulator and the library, and return the variables that a process must have to use them.

    nvcc is what --nvcc names, cache the folder to build in, root that of the repository. What is done is told
    on stderr. Raises EmulationError where a tool is missing or fails.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise EmulationError(
            f"the emulator is for linux on x86_64, this is {sys.platform} on {platform.machine()}"
        )
    compiler = find_nvcc(nvcc)
    check_release(compiler)
    cache = cache.absolute()
    print(f"building for emulation in {cache}, with {compiler.path} ({compiler.origin})", file=sys.stderr)
    with alone(cache):
        path = complete_toolkit(compiler.path, cache)
        emulator = {"PTXEMU_TESTS": "OFF", "CUDAToolkit_ROOT": str(path.parent)}
        cmake_build(root / "tools" / "ptxemu", cache / EMULATOR, emulator, "ptxemu", path)
        classes = root / "tests" / "cuda" / "persistent_classes.def"  # small ones, which an emulator can run
        library = {
            **DEFINITIONS,
            "CMAKE_CUDA_COMPILER": str(path),
            **({"FASTRNN_CUDA_CLASSES": str(classes)} if classes.exists() else {}),
        }
        cmake_build(root, cache / LIBRARY, library, "fastrnn_cuda", path)
    variables = environment(cache)
    if not Path(variables["FASTRNN_CUDA_LIBRARY"]).exists():
        raise EmulationError(f"the target fastrnn_cuda has left no {variables['FASTRNN_CUDA_LIBRARY']}")
    return variables


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, then print the variables or become the command."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--nvcc", help="path of nvcc, or its name in PATH")
    common.add_argument(
        "--cache", type=Path, default=CACHE, help="folder to build in (default: build/emulated)"
    )
    parser = argparse.ArgumentParser(description="Run what uses the CUDA library on the CPU.")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("build", parents=[common], help="build, and print the variables to set")
    run = actions.add_parser("run", parents=[common], help="build, and run a command with these variables")
    run.add_argument("command", nargs="+", help="behind --, with its arguments")
    options = parser.parse_args(arguments)
    try:
        variables = build(options.nvcc, options.cache)
        if options.action == "run":
            try:
                os.execvpe(options.command[0], options.command, {**os.environ, **variables})
            except OSError as error:
                raise EmulationError(f"cannot run {options.command[0]}: {error.strerror}") from error
    except EmulationError as error:
        print(error, file=sys.stderr)
        return 1
    for name, value in variables.items():
        print(f"{name}={shlex.quote(value)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
