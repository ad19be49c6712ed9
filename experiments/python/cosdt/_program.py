"""The program `cosdt` that comes with the package."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

PATH = str(pathlib.Path(__file__).parent / "bin" / "cosdt")


def environment() -> dict[str, str]:
    """The environment variables with which it finds the libraries of the Python packages torch and mujoco."""
    folders = []
    for package, folder in (("torch", "lib"), ("mujoco", "")):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ImportError(f"cosdt: expected the package {package}, found none")
        folders.append(str(pathlib.Path(spec.origin).parent / folder))
    before = os.environ.get("LD_LIBRARY_PATH")
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(folders + ([before] if before else []))}


def main() -> None:
    """The console script."""
    os.execve(PATH, ["cosdt", *sys.argv[1:]], environment())


def error_of(arguments: list[str], code: int, output: str) -> Exception:
    """The exception for an exit code of the program and what it wrote to standard error."""
    lines = [line for line in output.strip().splitlines() if line]
    message = next((line for line in lines if line.startswith("cosdt: error: ")), lines[0] if lines else "")
    message = message.removeprefix("cosdt: error: ") or f"cosdt {arguments[0]} ended with exit code {code}"
    return (ValueError if code == 2 else RuntimeError)(message)


def run_json(arguments: list[str], accepted: tuple[int, ...] = (0,)) -> Any:
    """Runs a command with --json and returns its report."""
    done = subprocess.run([PATH, *arguments, "--json"], env=environment(), capture_output=True, text=True)
    if done.returncode not in accepted or not done.stdout:
        raise error_of(arguments, done.returncode, done.stderr)
    return json.loads(done.stdout)
