"""cosdt's bodies and tasks as gymnasium environments.

Importing `cosdt` registers them: ``gymnasium.make("cosdt/Hopper-d4rl")`` and ``gymnasium.make_vec``. `env_id` gives the
name of any other.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.error import ClosedEnvironmentError
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from . import _cosdt

_TITLES = {"hopper": "Hopper", "halfcheetah": "HalfCheetah", "walker2d": "Walker2d"}
_BODY_STEPS = 1000  # of an episode
PHYSICS: tuple[str, ...] = tuple(_cosdt.physics_names())


def _spaces(env: Any) -> tuple[gymnasium.spaces.Box, gymnasium.Space[Any]]:
    observations = gymnasium.spaces.Box(-np.inf, np.inf, (env.observation_size,), np.float64)
    if env.discrete_actions > 0:
        return observations, gymnasium.spaces.Discrete(env.discrete_actions)
    return observations, gymnasium.spaces.Box(-1.0, 1.0, (env.action_size,), np.float32)


def _actions(actions: Any, shape: tuple[int, ...], discrete: bool) -> npt.NDArray[np.float64]:
    """Actions as the library takes them, contiguous float64; discrete ones are one value each."""
    given = np.asarray(actions)
    expected = shape[:-1] if discrete else shape
    if given.shape != expected or given.dtype.kind not in ("iu" if discrete else "fiu"):
        raise ValueError(
            f"action: expected {'integers' if discrete else 'numbers'} of shape {expected}, found {given.dtype} of "
            f"shape {given.shape}"
        )
    return np.ascontiguousarray(given.reshape(shape), np.float64)


def _seed(seed: int | None, random: np.random.Generator) -> int:
    return int(random.integers(2**63)) if seed is None else int(seed)


class CosdtEnv(gymnasium.Env[npt.NDArray[np.float64], Any]):
    """One body or task.

    After ``reset(seed=s)`` episodes are those of ``cosdt rollout --seed s``, in their order.

    Parameters
    ----------
    name
        cosdt's name of it, such as ``"hopper"`` or ``"tmaze-100"``.
    physics
        ``"d4rl"``, ``"gymnasium-v4"`` or ``"gymnasium-v5"``.
    """

    metadata = {"render_modes": []}

    def __init__(self, name: str, physics: str = "d4rl") -> None:
        self.name, self.physics = name, physics
        self._env = _cosdt.Env(name, physics)
        spaces = _spaces(self._env)
        self.observation_space: Any = spaces[0]
        self.action_space = spaces[1]
        self._shape = (self._env.action_size,)
        self._discrete = self._env.discrete_actions > 0
        self._begun = False
        self._closed = False
        if self._env.step_seconds > 0:
            self.metadata = {"render_modes": [], "render_fps": round(1 / self._env.step_seconds)}

    def _expect_open(self) -> None:
        if self._closed:
            raise ClosedEnvironmentError(f"{self.name}: expected an open environment, found a closed one")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
        """Begins the next episode, or with a seed the first of that seed."""
        self._expect_open()
        super().reset(seed=seed)
        if seed is not None or not self._begun:
            self._env.seed(_seed(seed, self.np_random))
        self._begun = True
        observation = np.empty(self._env.observation_size)
        self._env.reset(observation)
        return observation, {}

    def step(self, action: Any) -> tuple[npt.NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Takes a step; ``info["diverged"]`` is there if the simulator ended the episode."""
        self._expect_open()
        observation = np.empty(self._env.observation_size)
        reward, terminated, truncated = self._env.step(_actions(action, self._shape, self._discrete), observation)
        return observation, reward, terminated, truncated, {"diverged": True} if self._env.diverged else {}

    def state(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """A body's positions and velocities, MuJoCo's qpos and qvel."""
        self._expect_open()
        qpos, qvel = self._env.state()
        return np.array(qpos), np.array(qvel)

    def set_state(self, qpos: npt.ArrayLike, qvel: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Puts a body into a state, as at the start of an episode, and returns its observation."""
        self._expect_open()
        self._begun = True
        observation = np.empty(self._env.observation_size)
        self._env.set_state(
            np.ascontiguousarray(qpos, np.float64), np.ascontiguousarray(qvel, np.float64), observation
        )
        return observation

    def close(self) -> None:
        self._closed = True


class CosdtVectorEnv(gymnasium.vector.VectorEnv[npt.NDArray[np.float64], Any, npt.NDArray[Any]]):
    """Copies of a body or task that threads step; the same episodes as `gymnasium.vector.SyncVectorEnv` of `CosdtEnv`.

    Parameters
    ----------
    num_envs
        How many.
    name, physics
        As for `CosdtEnv`.
    threads
        That step them, the calling one included; results do not depend on it.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        num_envs: int = 1,
        *,
        name: str,
        physics: str = "d4rl",
        threads: int = 1,
        max_episode_steps: int | None = None,
    ) -> None:
        self.name, self.physics = name, physics
        self._envs = _cosdt.Envs(name, physics, num_envs, threads)
        if max_episode_steps not in (None, self._envs.horizon):  # make_vec passes the registered limit
            raise ValueError(f"max_episode_steps: expected {self._envs.horizon}, {name}'s own, found {max_episode_steps}")
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = _spaces(self._envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._shape = (num_envs, self._envs.action_size)
        self._discrete = self._envs.discrete_actions > 0
        self._observations: npt.NDArray[np.float64] = np.zeros((num_envs, self._envs.observation_size))
        self._begun = False

    def _expect_open(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError(f"{self.name}: expected open environments, found closed ones")

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
        """Begins an episode in every environment; a seed s gives environment i the seed s + i."""
        self._expect_open()
        seeds: list[int | None] = [None] * self.num_envs
        if isinstance(seed, (int, np.integer)):
            seeds = [int(seed) + i for i in range(self.num_envs)]
        elif seed is not None:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed: expected {self.num_envs}, found {len(seeds)}")
        if not self._begun:
            seeds = [_seed(s, self.np_random) for s in seeds]
        self._envs.reset(seeds, self._observations)
        self._begun = True
        return self._observations.copy(), {}

    def step(
        self, actions: Any
    ) -> tuple[
        npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_], dict[str, Any]
    ]:
        """Takes a step in every environment; those whose episode has ended begin the next one."""
        self._expect_open()
        if not self._begun:
            raise gymnasium.error.ResetNeeded(f"{self.name}: expected reset before step")
        rewards: npt.NDArray[np.float64] = np.empty(self.num_envs)
        terminated: npt.NDArray[np.bool_] = np.empty(self.num_envs, bool)
        truncated: npt.NDArray[np.bool_] = np.empty(self.num_envs, bool)
        actions = _actions(actions, self._shape, self._discrete)
        self._envs.step(actions, self._observations, rewards, terminated, truncated)
        return self._observations.copy(), rewards, terminated, truncated, {}


def env_id(name: str, physics: str = "d4rl") -> str:
    """The name for ``gymnasium.make`` and ``make_vec``, which this call registers if it is not registered yet.

    Parameters
    ----------
    name
        A body (``"hopper"``), a task (``"hopper-dropped-50"``, ``"tmaze-100"``) or a game.
    physics
        ``"d4rl"``, ``"gymnasium-v4"`` or ``"gymnasium-v5"``; tasks without a body have none.
    """
    _cosdt.Env(name, physics)  # refuses unknown names
    return _register(name, physics)


def _register(name: str, physics: str) -> str:
    body = _cosdt.body_of(name)
    spelled = f"cosdt/{_TITLES[body]}{name.removeprefix(body)}-{physics}" if body else f"cosdt/{name}"
    if spelled not in gymnasium.registry:
        gymnasium.register(
            spelled,
            entry_point="cosdt.gymnasium:CosdtEnv",
            vector_entry_point="cosdt.gymnasium:CosdtVectorEnv",
            max_episode_steps=_BODY_STEPS if body else None,  # tasks without a body end by themselves
            kwargs={"name": name, "physics": physics},
        )
    return spelled


def normalized_score(env: str, returns: npt.ArrayLike) -> Any:
    """D4RL's normalized score of undiscounted returns, 100 (return - min) / (max - min).

    Parameters
    ----------
    env
        ``"hopper"``, ``"halfcheetah"``, ``"walker2d"`` or a task made of one.
    returns
        One return or an array of them.
    """
    low, high = _cosdt.score_range(env)
    scores = 100 * (np.asarray(returns, np.float64) - low) / (high - low)
    return scores if scores.ndim > 0 else float(scores)


def model_xml(env: str, physics: str = "d4rl") -> str:
    """A body's MJCF, which gymnasium's own ``Hopper-v4`` takes as ``xml_file``.

    In ``d4rl`` mode masses and inertias are those of MuJoCo before 2.1.1. The string is for the MuJoCo that is
    installed: contact margins differ since 3.5.0.
    """
    return str(_cosdt.model_xml(env, physics))


for _body in _cosdt.body_names():
    for _task in ("", "-position", "-velocity", "-delayed"):
        for _physics in PHYSICS:
            _register(_body + _task, _physics)
for _game in _cosdt.game_names():
    _register(_game, "d4rl")
