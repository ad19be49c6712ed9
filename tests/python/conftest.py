"""A small dataset, and a small agent trained on it by the program."""

import subprocess

import pytest

import cosdt
from cosdt import _program

SMALL = {"threads": 1, "width": 16, "layers": 2, "context": 4, "batch_size": 4, "warmup": 10}


def run_program(*arguments):
    """What `cosdt` prints; fails with what it reports."""
    done = subprocess.run(["cosdt", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "hopper-random.hdf5"
    run_program("data", "collect", "--env", "hopper", "--policy", "random", "--transitions", 600, "--out", path)
    return path


@pytest.fixture(scope="session")
def run(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "hopper"
    cosdt.train(folder, dataset=dataset, updates=100, **SMALL)
    return folder


@pytest.fixture(scope="session")
def discrete_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("discrete")
    data = folder / "game.hdf5"
    run_program(
        "data", "collect", "--env", "popgym-repeat-first-easy", "--policy", "scripted", "--transitions", 510, "--out", data
    )
    cosdt.train(folder / "run", dataset=data, updates=20, **SMALL)
    return folder / "run"


@pytest.fixture(scope="session")
def program():
    return _program.PATH
