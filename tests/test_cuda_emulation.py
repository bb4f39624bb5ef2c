# SPDX-License-Identifier: MIT
"""How the emulator is found, built and used by tests: tools/cuda_emulation.py and --cuda. Needs no CUDA."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import RESTARTED, cuda_mode

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS.parent / "tools"))

import cuda_emulation  # noqa: E402
from cuda_emulation import Compiler, EmulationError  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the emulator is for Linux")


def make_program(path, script="exit 0"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def places(tmp_path):
    """An nvcc in every place that is searched, in the order of the search."""
    return {
        "--nvcc": make_program(tmp_path / "argument" / "nvcc"),
        "CUDACXX": make_program(tmp_path / "variable" / "nvcc"),
        "PATH": make_program(tmp_path / "path" / "nvcc"),
        "PyPI": make_program(tmp_path / "site" / "nvidia" / "cu13" / "bin" / "nvcc"),
    }


def search(places):
    environ = {"PATH": str(places["PATH"].parent), "CUDACXX": str(places.get("CUDACXX", ""))}
    folders = [str(places["PyPI"].parents[4] / "empty"), str(places["PyPI"].parents[3])]
    return cuda_emulation.find_nvcc(places.get("--nvcc"), environ, folders)


@pytest.mark.parametrize("before", range(4))
def test_the_first_place_with_nvcc_wins(places, before):
    for origin in list(places)[:before]:
        places[origin].unlink()
        if origin != "PATH":
            del places[origin]
    first = ["--nvcc", "CUDACXX", "PATH", "PyPI"][before]
    assert search(places) == Compiler(places[first], first)


@pytest.mark.parametrize("origin", ["--nvcc", "CUDACXX"])
def test_an_nvcc_that_is_named_and_absent_is_an_error_whatever_else_there_is(places, origin):
    if origin != "--nvcc":
        del places["--nvcc"]
    places[origin].unlink()
    with pytest.raises(EmulationError, match=f"{origin} names {places[origin]}"):
        search(places)


def test_a_name_is_searched_in_path(places):
    environ = {"PATH": str(places["PATH"].parent)}
    assert cuda_emulation.find_nvcc("nvcc", environ, []) == Compiler(places["PATH"], "--nvcc")


def test_no_nvcc_is_one_error_that_says_what_to_install(places):
    places["PATH"].unlink()
    places["PyPI"].chmod(0o644)  # no program
    with pytest.raises(EmulationError) as caught:
        search({name: places[name] for name in ("PATH", "PyPI")})
    for word in ("--nvcc", "CUDACXX", "PATH", sys.executable, f"pip install '{cuda_emulation.PACKAGES}'"):
        assert word in str(caught.value)


def test_an_nvcc_of_another_release_is_refused(tmp_path):
    nvcc = make_program(tmp_path / "nvcc", "echo Cuda compilation tools, release $RELEASE, V$RELEASE.88")
    for release, message in {"13.0": None, "12.8": "release 12.* release 13"}.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RELEASE", release)
            if message is None:
                cuda_emulation.check_release(Compiler(nvcc, "PATH"))
            else:
                with pytest.raises(EmulationError, match=message):
                    cuda_emulation.check_release(Compiler(nvcc, "PATH"))


@pytest.mark.parametrize("script", ["echo hello", "exit 3", None])
def test_an_nvcc_that_tells_no_release_is_refused(tmp_path, script):
    nvcc = tmp_path / "nvcc" if script is None else make_program(tmp_path / "nvcc", script)
    with pytest.raises(EmulationError, match=r"nvcc \(CUDACXX\) does not tell its release"):
        cuda_emulation.check_release(Compiler(nvcc, "CUDACXX"))


def make_packages(folder):
    """The layout of the packages of PyPI: libraries in lib alone, libcudart without the name for linkers."""
    nvcc = make_program(folder / "bin" / "nvcc")
    for name in (
        "nvvm/bin/cicc",
        "include/cuda.h",
        "lib/libcudart.so.13",
        "lib/cmake/cccl.cmake",
        "bin/crt/link.stub",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return nvcc


def test_packages_get_the_layout_of_a_toolkit(tmp_path):
    packages = tmp_path / "cu13"
    nvcc = make_packages(packages)
    before = sorted(packages.rglob("*"))
    for _ in range(2):  # the second time over what the first has left
        completed = cuda_emulation.complete_toolkit(nvcc, tmp_path / "cache")
        assert completed.resolve() == nvcc
        toolkit = f"{completed.parent}/.."  # as nvcc writes it; the loader and linkers follow links first
        assert Path(toolkit, "lib64", "libcudart.so").read_text() == "lib/libcudart.so.13"
        for name in ("nvvm/bin/cicc", "include/cuda.h", "lib64/cmake/cccl.cmake", "bin/crt/link.stub"):
            assert Path(toolkit, name).read_text() == name.replace("lib64", "lib")
    assert sorted(packages.rglob("*")) == before


def test_a_whole_toolkit_and_a_wrapper_are_left_alone(tmp_path):
    whole = make_packages(tmp_path / "cuda")
    (tmp_path / "cuda" / "lib64").symlink_to("lib")
    wrapper = make_program(tmp_path / "local" / "bin" / "nvcc")
    for nvcc in (whole, wrapper):
        assert cuda_emulation.complete_toolkit(nvcc, tmp_path / "cache") == nvcc
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "/c/ptxemu"),
        ("", "/c/ptxemu"),
        ("/a:/b", "/c/ptxemu:/a:/b"),
        ("/a:/c/ptxemu:", "/c/ptxemu:/a"),
        ("/c/ptxemu:/a", "/c/ptxemu:/a"),
    ],
)
def test_the_loader_finds_the_emulator_first(before, after):
    environ = {} if before is None else {"LD_LIBRARY_PATH": before}
    assert cuda_emulation.environment(Path("/c"), environ)["LD_LIBRARY_PATH"] == after


def test_variables_of_the_emulator_pass_through_and_no_others():
    environ = {"PTXEMU_SEED": "7", "PTXEMU_WEAK": "1", "HOME": "/h", "FASTRNN_CUDA_LIBRARY": "/old.so"}
    assert cuda_emulation.environment(Path("/c"), environ) == {
        "LD_LIBRARY_PATH": "/c/ptxemu",
        "FASTRNN_CUDA_LIBRARY": "/c/cuda/libfastrnn_cuda.so",
        "PTXEMU_SEED": "7",
        "PTXEMU_WEAK": "1",
    }


@pytest.fixture
def cmake(tmp_path, monkeypatch):
    """A cmake that notes its arguments in a file, and fails where one of them is -DBAD=1."""
    log = tmp_path / "log"
    script = f'echo "$CUDACXX $*" >> {log}\ncase "$*" in *-DBAD=1*) echo no good; exit 4;; esac'
    make_program(tmp_path / "programs" / "cmake", script)
    make_program(tmp_path / "programs" / "ninja")
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    folder = tmp_path / "build"
    folder.mkdir()  # what cmake would do

    def build(**definitions):
        log.write_text("")
        cuda_emulation.cmake_build(tmp_path / "source", folder, definitions, "things", Path("/n/nvcc"))

    build.log = log
    build.folder = folder
    return build


def configured_and_built(cmake):
    lines = cmake.log.read_text().splitlines()
    assert all(line.startswith("/n/nvcc ") for line in lines)
    return ["-S" in line for line in lines], ["--target things" in line for line in lines]


def test_a_folder_is_configured_anew_where_definitions_change(cmake):
    cmake(ONE="1")
    assert "-DONE=1" in cmake.log.read_text()
    assert "-DCMAKE_BUILD_TYPE=Release" in cmake.log.read_text()
    assert configured_and_built(cmake) == ([True, False], [False, True])
    cmake(ONE="1")
    assert configured_and_built(cmake) == ([False], [True])
    (cmake.folder / "CMakeCache.txt").write_text("of the last definitions")
    cmake(ONE="2")
    assert configured_and_built(cmake) == ([True, False], [False, True])
    assert not (cmake.folder / "CMakeCache.txt").exists()


def test_what_a_failing_tool_said_is_told_and_the_next_build_configures(cmake):
    cmake(BAD="0")
    for _ in range(2):
        with pytest.raises(EmulationError, match=r"(?s)no good.*failed with status 4: .*cmake .*-DBAD=1"):
            cmake(BAD="1")
        assert configured_and_built(cmake) == ([True], [False])
    cmake(BAD="0")
    assert configured_and_built(cmake) == ([True, False], [False, True])


def test_a_missing_program_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(EmulationError, match="pip install ninja"):
        cuda_emulation.find_program("ninja")
    beside = make_program(tmp_path / "beside" / "ninja")
    monkeypatch.setattr(sys, "executable", str(beside.parent / "python"))
    assert cuda_emulation.find_program("ninja") == str(beside)


def test_the_command_is_run_in_the_environment(monkeypatch, capfd, tmp_path):
    variables = {"LD_LIBRARY_PATH": "/c/ptx emu", "PTXEMU_SEED": "7"}
    monkeypatch.setattr(cuda_emulation, "build", lambda nvcc, cache: variables)
    assert cuda_emulation.main(["build"]) == 0
    assert capfd.readouterr().out == "LD_LIBRARY_PATH='/c/ptx emu'\nPTXEMU_SEED=7\n"

    became = []
    monkeypatch.setattr(os, "execvpe", lambda *call: became.append(call))
    monkeypatch.setenv("HOME", "/h")
    cuda_emulation.main(["run", "--nvcc", "x", "--", "pytest", "-x", "--cuda=emulated"])
    [(name, command, environ)] = became
    assert (name, command) == ("pytest", ["pytest", "-x", "--cuda=emulated"])
    assert variables.items() <= environ.items()
    assert environ["HOME"] == "/h"


def test_why_nothing_is_run_is_told(monkeypatch, capfd, tmp_path):
    assert cuda_emulation.main(["build", "--nvcc", str(tmp_path / "nvcc")]) == 1
    assert f"--nvcc names {tmp_path / 'nvcc'}" in capfd.readouterr().err
    monkeypatch.setattr(cuda_emulation, "build", lambda nvcc, cache: {})
    assert cuda_emulation.main(["run", "--", str(tmp_path / "absent")]) == 1
    assert capfd.readouterr().err == f"cannot run {tmp_path / 'absent'}: No such file or directory\n"


STUB = """
import os
class EmulationError(RuntimeError): pass
def build():
    with open({log!r}, "a") as log: print("built", file=log)
    if "STUB_FAILS" in os.environ: raise EmulationError("no nvcc anywhere")
    return {{"LD_LIBRARY_PATH": "/c/ptxemu", "FASTRNN_CUDA_LIBRARY": "/c/library.so"}}
"""
PROBE = """
import os, sys
from conftest import cuda_mode
def test_environment(request):
    capture = request.config.pluginmanager.getplugin("capturemanager")
    capture.suspend(in_=True)  # as a debugger does
    typed = sys.stdin.readline()
    capture.resume()
    print("typed", typed)
    print("mode", cuda_mode(request.config), "path", os.environ.get("LD_LIBRARY_PATH"))
    assert "STATUS" not in os.environ
"""


@pytest.fixture
def run_pytest(tmp_path):
    """Runs pytest over a test of its own, with this folder's conftest.py and a stub for tools/cuda_emulation.py."""
    (tmp_path / "tests").mkdir()
    for path in TESTS.glob("*.py"):
        if not path.name.startswith("test_"):
            shutil.copy(path, tmp_path / "tests")
    (tmp_path / "tests" / "test_probe.py").write_text(PROBE)
    log = tmp_path / "log"
    log.write_text("")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "cuda_emulation.py").write_text(STUB.format(log=str(log)))

    def run(*arguments, **variables):
        unset = (RESTARTED, "LD_LIBRARY_PATH", "FASTRNN_CUDA_LIBRARY")
        environ = {name: value for name, value in os.environ.items() if name not in unset}
        command = [sys.executable, "-m", "pytest", "-rP", "tests/test_probe.py", *arguments]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environ | variables,
            input="continue",
            capture_output=True,
            text=True,
            timeout=300,
        )
        return done, log.read_text().count("built")

    return run


def test_pytest_begins_anew_once_under_the_emulator(run_pytest):
    done, builds = run_pytest("--cuda=emulated")
    assert done.returncode == 0, done.stdout
    assert builds == 1
    assert done.stdout.count("pytest begins anew with LD_LIBRARY_PATH=/c/ptxemu") == 1
    assert "mode emulated path /c/ptxemu" in done.stdout
    assert done.stdout.count("1 passed") == 1
    assert "typed continue" in done.stdout  # stdin went over to it


@pytest.mark.parametrize("arguments", [[], ["--cuda=none"], ["--cuda=device"]])
def test_pytest_builds_nothing_otherwise(run_pytest, arguments):
    done, builds = run_pytest(*arguments)
    assert done.returncode == 0, done.stdout
    assert builds == 0
    assert "begins anew" not in done.stdout
    assert f"mode {(arguments or ['none'])[0].removeprefix('--cuda=')} path None" in done.stdout


def test_what_pytest_says_in_the_end_is_what_the_second_process_says(run_pytest):
    done, _ = run_pytest("--cuda=emulated", STATUS="1")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED


def test_pytest_tells_why_there_is_no_emulation(run_pytest):
    done, builds = run_pytest("--cuda=emulated", STUB_FAILS="1")
    assert (done.returncode, builds) == (pytest.ExitCode.USAGE_ERROR, 1)
    assert "--cuda=emulated: no nvcc anywhere" in done.stdout + done.stderr


def test_the_library_loads_the_emulator_as_its_runtime(request):
    """The symbols of the loaded libcudart.so.13, under --cuda=emulated only."""
    if cuda_mode(request.config) != "emulated":
        pytest.skip("runs under --cuda=emulated")
    import ctypes

    ctypes.CDLL(os.environ["FASTRNN_CUDA_LIBRARY"])
    with open("/proc/self/maps") as maps:
        runtimes = {line.split()[-1] for line in maps if "libcudart" in line}
    emulator = os.environ["LD_LIBRARY_PATH"].split(":")[0]
    assert {str(Path(path).parent) for path in runtimes} == {emulator}
