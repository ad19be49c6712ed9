"""Training by the program, with its options."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any

from . import _program

_POLL_SECONDS = 0.2


def _flags(options: dict[str, Any]) -> list[str]:
    flags: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            flags.append(flag)
        elif isinstance(value, (list, tuple)):
            flags += [flag, ",".join(str(v) for v in value)]
        elif value is not None and value is not False:
            flags += [flag, os.fspath(value) if isinstance(value, os.PathLike) else str(value)]
    return flags


class _Metrics:
    """The lines of a run's metrics.jsonl that were not read before."""

    def __init__(self, folder: str, resume: bool) -> None:
        self._path = os.path.join(folder, "metrics.jsonl")
        self._at = os.path.getsize(self._path) if resume and os.path.exists(self._path) else 0

    def lines(self) -> list[dict[str, Any]]:
        try:
            with open(self._path, encoding="utf-8") as file:
                file.seek(self._at)
                text = file.read()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind("\n") + 1]
        self._at += len(whole.encode())
        return [json.loads(line) for line in whole.splitlines()]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks the program to save and stop, and waits for it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    process.wait()


def train(
    out: str | os.PathLike[str],
    *,
    progress: Callable[[dict[str, Any]], object] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Trains an agent in a folder as ``cosdt train`` does, and returns its report.

    Training runs in a process of its own. Ctrl-C, and what `progress` raises, save and stop it: ``resume=True`` continues.

    Parameters
    ----------
    out
        The run's folder.
    progress
        Called with each line of ``metrics.jsonl``, every 100 updates: ``update``, ``loss``, ``updates_per_second`` and
        others.
    options
        The flags of ``cosdt train``: ``dataset="hopper-medium-v2"``, ``preset``, ``updates``, ``batch_size``, ``lr``,
        ``targets=[3600, 1800]`` or ``"auto"``, ``resume=True`` and so on.

    Raises
    ------
    ValueError
        For an unknown option.
    RuntimeError
        For what the program reports: data or options that do not fit, a folder that is in use.
    """
    arguments = ["train", "--out", os.fspath(out), *_flags(options), "--json"]
    metrics = _Metrics(os.fspath(out), bool(options.get("resume")))
    with tempfile.TemporaryFile("w+") as report, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [_program.PATH, *arguments],
            env=_program.environment(),
            stdout=report,
            stderr=errors,
            start_new_session=True,  # Ctrl-C reaches this process alone, which stops that one
        )
        try:
            ended = False
            while not ended:
                try:
                    process.wait(_POLL_SECONDS)
                    ended = True
                except subprocess.TimeoutExpired:
                    pass
                if progress is not None:
                    for line in metrics.lines():
                        progress(line)
        except BaseException:
            _end(process)
            raise
        errors.seek(0)
        report.seek(0)
        if process.returncode != 0:
            raise _program.error_of(arguments, process.returncode, errors.read())
        result: dict[str, Any] = json.load(report)
    return result
