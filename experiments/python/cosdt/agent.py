"""Trained agents in any gymnasium environment."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from . import _cosdt

DECODE_MODES = ("window", "recurrent", "staggered")


def _asked(targets: Any) -> list[float | None] | None:
    """Targets as the library takes them, None for "auto"; None if they are no finite numbers or "auto"."""
    asked: list[float | None] = []
    for target in targets:
        try:
            asked.append(None if isinstance(target, str) and target == "auto" else float(target))
        except (TypeError, ValueError):
            return None
    return asked if asked and all(target is None or np.isfinite(target) for target in asked) else None


class Agent:
    """An agent that `cosdt train` made. It takes raw observations and rewards and gives raw actions.

    One or more episodes run in lock step; a row's actions do not depend on the others.

    Parameters
    ----------
    run
        A run's folder, whose last checkpoint is taken, or a checkpoint.
    decode
        ``"window"`` computes the last K steps at every step, as published figures do; ``"recurrent"`` carries the state
        over the whole episode; ``"staggered"`` runs two streams of at most K steps.
    horizon
        The longest episode in steps, for ``"recurrent"``.
    precision
        Of the matrix products: ``"fp32"`` or ``"bf16"``.
    threads
        That decide; results do not depend on it.

    Attributes
    ----------
    info : dict
        Among others ``env``, ``physics``, ``targets`` (the returns that it was trained to be asked for), ``context``,
        ``observation_size``, ``action_size``, ``discrete_actions`` and ``updates``.
    """

    def __init__(
        self,
        run: str | os.PathLike[str],
        *,
        decode: str = "window",
        horizon: int = 1000,
        precision: str = "fp32",
        threads: int = 1,
    ) -> None:
        path = os.fspath(run)
        if os.path.isdir(path):
            path = os.path.join(path, "last.safetensors")
        self._session = _cosdt.Session(path, decode, horizon, precision, threads)
        self.info: dict[str, Any] = json.loads(self._session.describe())
        self._rows: int | None = None
        self._single = False

    def reset(self, targets: npt.ArrayLike | None = None, *, seeds: Sequence[int] | None = None) -> None:
        """Begins an episode for each target, the returns to ask for, unscaled.

        Parameters
        ----------
        targets
            A number begins one episode, in which `act` takes and gives single rows; a list or array as many as it has
            elements. ``"auto"`` in a number's place asks at every step for the return that the agent predicts, if it was
            trained with ``targets="auto"``. None takes ``info["targets"][0]`` for one episode. Behavior cloning does not
            read them.
        seeds
            One per row: discrete actions are drawn. Otherwise they are the most likely ones.
        """
        if targets is None:
            targets = self.info["targets"][0] if self.info["targets"] else 0.0
        single = np.ndim(targets) == 0
        asked = _asked([targets] if single else targets) if np.ndim(targets) < 2 else None
        if asked is None:
            raise ValueError(f'targets: expected a finite number, "auto" or a list of them, found {targets!r}')
        self._session.reset(asked, np.ascontiguousarray(seeds if seeds is not None else [], np.uint64))
        self._rows, self._single = len(asked), single

    def act(self, observations: npt.ArrayLike, rewards: npt.ArrayLike | None = None) -> npt.NDArray[Any]:
        """The actions for the current observations.

        Parameters
        ----------
        observations : [rows, observation_size]
            As the environment gives them; [observation_size] after ``reset`` with a number.
        rewards : [rows]
            What the last actions earned; not read in the first step.

        Returns
        -------
        array
            float64 [rows, action_size], or int64 [rows] if actions are discrete; without the rows' dimension after
            ``reset`` with a number.
        """
        if self._rows is None:
            raise RuntimeError("agent: expected reset before act")
        rows = () if self._single else (self._rows,)
        given = np.asarray(observations)
        width = self.info["observation_size"]
        if given.shape != (*rows, width) or given.dtype.kind not in "fiu":
            raise ValueError(
                f"observations: expected numbers of shape {(*rows, width)}, found {given.dtype} of shape {given.shape}"
            )
        earned = np.zeros(rows) if rewards is None else np.asarray(rewards, np.float64)
        if earned.shape != rows:
            raise ValueError(f"rewards: expected shape {rows}, found {earned.shape}")
        actions = np.empty((self._rows, self.info["action_size"]))
        self._session.act(
            np.ascontiguousarray(given.reshape(self._rows, width), np.float64),
            np.ascontiguousarray(earned.reshape(self._rows)),
            actions,
        )
        if self.info["discrete_actions"] > 0:
            indices = actions[:, 0].astype(np.int64)
            return indices[0] if self._single else indices
        return actions[0] if self._single else actions

    def keep(self, rows: Sequence[int]) -> None:
        """Continues with these rows alone, an ascending list of indices; the others have ended."""
        kept = [int(row) for row in rows]
        if self._rows is None or kept != sorted(set(kept)) or (kept and not 0 <= kept[0] <= kept[-1] < self._rows):
            raise ValueError(f"rows: expected ascending indices below {self._rows}, found {kept}")
        self._session.keep(kept)
        self._rows, self._single = len(kept), False


def _lengths_and_returns(
    agent: Agent, envs: list[gymnasium.Env[Any, Any]], target: float | str, seeds: Sequence[int | None]
) -> tuple[list[float], list[int]]:
    """Plays one episode in each environment, all of them in lock step."""
    observations = [env.reset(seed=seed)[0] for env, seed in zip(envs, seeds)]
    rewards = [0.0] * len(envs)
    returns, lengths = [0.0] * len(envs), [0] * len(envs)
    running = list(range(len(envs)))
    agent.reset([target] * len(envs))
    while running:
        actions = agent.act(np.stack([observations[i] for i in running]), [rewards[i] for i in running])
        kept = []
        for place, i in enumerate(running):
            observation, reward, terminated, truncated, _ = envs[i].step(actions[place].astype(envs[i].action_space.dtype))
            observations[i], rewards[i] = observation, float(reward)
            returns[i] += float(reward)
            lengths[i] += 1
            if not terminated and not truncated:
                kept.append(place)
        running = [running[place] for place in kept]
        if running:
            agent.keep(kept)
    return returns, lengths


def evaluate(
    run: str | os.PathLike[str] | Agent,
    make_env: Callable[[], gymnasium.Env[Any, Any]],
    episodes: int = 100,
    *,
    targets: Sequence[float | str] | None = None,
    seed: int = 0,
    score: str = "",
    **options: Any,
) -> list[dict[str, Any]]:
    """Plays episodes of an agent in an environment of one's own, with the statistics of ``cosdt eval``.

    Parameters
    ----------
    run
        As `Agent` takes it, or an `Agent`.
    make_env
        Makes an environment. Several are made, which are stepped in turn; episode i begins with ``reset(seed=seed + i)``.
    episodes
        Per target.
    targets
        Returns to ask for, or ``"auto"`` (`Agent.reset`); by default the agent's own.
    seed
        Of initial states and of the bootstrap intervals.
    score
        The body whose D4RL constants normalize returns: ``"hopper"``. Without it there is no normalized score.
    options
        Of `Agent`.

    Returns
    -------
    list of dict
        One per target: ``target, returns, lengths, mean, std, standard_error, iqm, iqm_ci, normalized_score,
        normalized_score_ci``.
    """
    if episodes < 1:
        raise ValueError(f"episodes: expected at least 1, found {episodes}")
    agent = run if isinstance(run, Agent) else Agent(run, **options)
    reads_targets = agent.info["reads_targets"]
    own = agent.info["targets"] if targets is None else targets
    asked = ([own] if isinstance(own, str) else list(own)) if reads_targets else [0.0]
    if not asked:
        raise ValueError("targets: expected at least one, found none")
    envs = [make_env() for _ in range(min(episodes, agent.info["rows_at_once"]))]
    try:
        entries = []
        for target in asked:
            returns: list[float] = []
            lengths: list[int] = []
            while len(returns) < episodes:
                begin = len(returns)
                wave = envs[: episodes - begin]
                part = _lengths_and_returns(agent, wave, target, [seed + begin + i for i in range(len(wave))])
                returns += part[0]
                lengths += part[1]
            entry = json.loads(_cosdt.describe_episodes(returns, lengths, seed, score))
            entries.append({"target": target if reads_targets else None, **entry})
    finally:
        for env in envs:
            env.close()
    return entries
