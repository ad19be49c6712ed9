"""The installed package: versions, one copy of each library, types, and the program."""

import pathlib
import re
import subprocess
import sys

import pytest

import cosdt
from cosdt import _versions

ROOT = pathlib.Path(__file__).parents[2]


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize("package,found", [("torch", "2.12.1+cpu"), ("mujoco", "3.4.0")])
def test_another_version_is_one_clear_import_error(package, found):
    done = python(f"import {package}; {package}.__version__ = '{found}'; import cosdt")
    assert done.returncode == 1
    built = getattr(_versions, package.upper())
    assert re.search(
        rf"ImportError: cosdt {re.escape(cosdt.__version__)}: expected {package} {built}, with which it was built, found "
        rf"{package} {re.escape(found)} in ", done.stderr,
    )


def test_torch_and_mujoco_are_there_once():
    done = python("import cosdt; print(open('/proc/self/maps').read())")
    files = {line.split()[-1] for line in done.stdout.splitlines() if "/" in line}
    for library in ("libtorch_cpu.so", "libc10.so", "libmujoco.so", "libgomp"):
        loaded = [file for file in files if pathlib.Path(file).name.startswith(library)]
        assert len(loaded) == 1, loaded


def test_versions_agree():
    assert re.search(rf"project\(cosdt VERSION {re.escape(cosdt.__version__)} ", (ROOT / "CMakeLists.txt").read_text())
    pins = (ROOT / "cmake/wheels.txt").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    for name, version in (("torch", _versions.TORCH), ("mujoco", _versions.MUJOCO)):
        assert f"\n{name}=={version} " in pins
        assert f'"{name}=={version}"' in project
    printed = subprocess.run(["cosdt", "--version"], capture_output=True, text=True).stdout
    assert printed.startswith(f"cosdt {cosdt.__version__}\nLibTorch {_versions.TORCH}\nMuJoCo {_versions.MUJOCO}\n")


def test_a_name_alone_imports_the_package():
    done = python("import gymnasium; print(gymnasium.make('cosdt:cosdt/Hopper-d4rl').unwrapped.name)")
    assert done.stdout == "hopper\n", done.stderr


def test_the_program_keeps_its_exit_codes():
    assert subprocess.run(["cosdt"], capture_output=True).returncode == 2
    assert subprocess.run(["cosdt", "data", "info", "nothing.hdf5"], capture_output=True).returncode == 1


def test_is_typed():
    assert (pathlib.Path(cosdt.__file__).parent / "py.typed").exists()
