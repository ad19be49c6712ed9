"""Datasets: loading, converting, checking and collecting."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from . import _cosdt, _program

Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Whole episodes, one after the other. The arrays are the library's own memory, not copies.

    Attributes
    ----------
    path : str
        The file.
    env : str
        ``"hopper"``, a task such as ``"hopper-position"``, or ``""`` for an environment that cosdt does not have.
    discrete_actions : int
        n if actions are the integers 0 to n - 1, else 0.
    observations, actions : float32 array [rows, size]
        Before each step. A discrete action is one value.
    rewards, returns_to_go : float32 array [rows]
        Returns-to-go are undiscounted, from each row to its episode's last.
    offsets : int64 array [episodes + 1]
        Rows ``offsets[i]`` to ``offsets[i + 1]`` are episode i.
    terminated : bool array [episodes]
        Whether it ended in a terminal state; otherwise by a timeout.
    returns : float64 array [episodes]
        Undiscounted.
    """

    path: str
    env: str
    discrete_actions: int
    observations: Floats
    actions: Floats
    rewards: Floats
    returns_to_go: Floats
    offsets: npt.NDArray[np.int64]
    terminated: npt.NDArray[np.bool_]
    returns: npt.NDArray[np.float64]

    def __len__(self) -> int:
        """The number of episodes."""
        return len(self.returns)


def _path(name: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None) -> str:
    name, folder = os.fspath(name), os.fspath(data_dir or "")
    path = str(_cosdt.dataset_path(name, folder))
    if not _cosdt.is_file(path):  # a demo, which the program makes
        _program.run_json(["data", "info", name, *(["--data-dir", folder] if folder else [])])
    return path


def load(name: str | os.PathLike[str], *, data_dir: str | os.PathLike[str] | None = None, env: str = "") -> Dataset:
    """Reads a D4RL or Minari file.

    Trailing rows that no flag ends are left out.

    Parameters
    ----------
    name
        A path, D4RL's name (``"hopper-medium-v2"``) or a demo (``"demo/hopper-medium"``, made on first use).
    data_dir
        The folder of datasets given by name; by default ``$COSDT_DATA`` or ``~/.cache/cosdt``.
    env
        The body, if neither the file nor its name tells.

    Raises
    ------
    OSError
        If there is no such file, or it is damaged: the message names file, key, what was expected and what was found.
    """
    path = _path(name, data_dir)
    e = _cosdt.load(path, env, False, None)
    return Dataset(
        path=path,
        env=e.env,
        discrete_actions=e.discrete_actions,
        observations=e.observations,
        actions=e.actions,
        rewards=e.rewards,
        returns_to_go=e.returns_to_go,
        offsets=e.offsets,
        terminated=e.endings == 0,
        returns=e.returns,
    )


def to_minari(
    name: str | os.PathLike[str],
    dataset_id: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    body: str = "",
    **metadata: Any,
) -> Any:
    """Converts a dataset to Minari's (the package ``minari`` is needed) and returns the `minari.MinariDataset`.

    Parameters
    ----------
    name, data_dir
        As for `load`. The file must have next observations, which D4RL's have.
    body
        If neither the file nor its name tells.
    dataset_id
        Such as ``"mujoco/hopper/medium-v2"``.
    metadata
        Further arguments of `minari.create_dataset_from_buffers`, such as ``author``, or ``env="Hopper-v5"``, which says
        what made the data.
    """
    import minari
    from minari.data_collector import EpisodeBuffer

    e = _cosdt.load(_path(name, data_dir), body, True, None)
    discrete = e.discrete_actions > 0
    actions = e.actions[:, 0].astype(np.int64) if discrete else e.actions
    buffers = []
    for i, (begin, end) in enumerate(zip(e.offsets[:-1], e.offsets[1:])):
        ends = np.zeros(end - begin, bool)
        ends[-1] = True
        terminal = bool(e.endings[i] == 0)
        buffers.append(
            EpisodeBuffer(
                id=i,
                observations=np.concatenate([e.observations[begin:end], e.next_observations[end - 1 : end]]),
                actions=actions[begin:end],
                rewards=e.rewards[begin:end],
                terminations=ends if terminal else np.zeros_like(ends),
                truncations=np.zeros_like(ends) if terminal else ends,
                infos={},
            )
        )
    width = e.observations.shape[1]
    return minari.create_dataset_from_buffers(
        dataset_id,
        buffers,
        observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float32),
        action_space=gymnasium.spaces.Discrete(e.discrete_actions)
        if discrete
        else gymnasium.spaces.Box(-1.0, 1.0, (actions.shape[1],), np.float32),
        **metadata,
    )


def check(
    name: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    env: str = "",
    policy: bool = True,
    episodes: int = 100,
) -> dict[str, Any]:
    """What is wrong with a dataset, and whose simulator made it: the report of ``cosdt data check --json``.

    Parameters
    ----------
    name, data_dir, env
        As for `load`.
    policy
        Whether the file's own policy is played, if it has one, for so many `episodes` in each physics mode.

    Returns
    -------
    dict
        Among others ``findings``, empty if the file is fit.
    """
    arguments = ["data", "check", os.fspath(name), "--episodes", str(episodes)]
    for flag, value in (("--data-dir", os.fspath(data_dir or "")), ("--env", env)):
        arguments += [flag, value] if value else []
    report: dict[str, Any] = _program.run_json(arguments + ([] if policy else ["--no-policy"]), accepted=(0, 1))
    return report


def collect(
    env: str,
    policy: Callable[[Floats], npt.ArrayLike],
    transitions: int,
    out: str | os.PathLike[str],
    *,
    physics: str = "d4rl",
    seed: int = 0,
    threads: int = 1,
) -> int:
    """Plays episodes by the rules of D4RL's collector and writes them to a file in D4RL's layout.

    Parameters
    ----------
    env, physics
        cosdt's name of the environment, and its physics mode.
    policy
        Takes observations [n, size], of a task those of its body in full, and returns actions [n, size], or [n] if they
        are discrete. Rows are different episodes. What it raises ends the collecting, and no file is written.
    transitions
        Steps to write; the last episode is cut.
    out
        The file, which appears when it is complete.

    Returns
    -------
    int
        The steps written.
    """
    probe = _cosdt.Env(env, physics)
    width, discrete = probe.action_size, probe.discrete_actions > 0

    def act(observations: Floats) -> Floats:
        actions = np.asarray(policy(observations))
        expected = (len(observations),) if discrete else (len(observations), width)
        if actions.shape != expected or actions.dtype.kind not in ("iu" if discrete else "fiu"):
            raise ValueError(
                f"policy: expected {'integers' if discrete else 'numbers'} of shape {expected}, found {actions.dtype} of "
                f"shape {actions.shape}"
            )
        return np.ascontiguousarray(actions.reshape(-1, width), np.float32)

    return int(_cosdt.collect(env, physics, act, transitions, seed, threads, os.fspath(out)))
