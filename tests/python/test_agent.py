"""Agents in gymnasium's loops against the program."""

import json
import os

import gymnasium
import numpy as np
import pytest
from conftest import SMALL, run_program

import cosdt


def play(agent, target, seed, episodes):
    """Returns and lengths of one environment's episodes, one after the other."""
    env = gymnasium.make("cosdt/Hopper-d4rl")
    returns, lengths = [], []
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed if episode == 0 else None)
        agent.reset(target)
        total, length, reward, ended = 0.0, 0, None, False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(agent.act(observation, reward))
            total, length, ended = total + reward, length + 1, terminated or truncated
        returns.append(total)
        lengths.append(length)
    return returns, lengths


@pytest.mark.parametrize("decode", ["window", "staggered"])
def test_acts_as_the_program_to_the_bit(run, decode):
    report = json.loads(
        run_program("eval", run, "--episodes", 3, "--targets", "1800", "--seed", 4, "--decode", decode, "--json")
    )["targets"][0]
    returns, lengths = play(cosdt.Agent(run, decode=decode), 1800, 4, 3)
    assert returns == report["returns"]
    assert lengths == report["lengths"]


def test_auto_asks_as_the_program_does(dataset, tmp_path):
    cosdt.train(tmp_path, dataset=dataset, updates=3, targets="auto", **SMALL)
    agent = cosdt.Agent(tmp_path)
    assert agent.info["targets"] == ["auto"]
    report = json.loads(run_program("eval", tmp_path, "--episodes", 2, "--seed", 4, "--json"))["targets"]
    assert [entry["target"] for entry in report] == ["auto"]
    for target in (None, "auto"):
        assert play(agent, target, 4, 2) == (report[0]["returns"], report[0]["lengths"])
    agent.reset(["auto", 1800])
    assert agent.act(np.zeros((2, 11))).shape == (2, 3)
    make_env = lambda: gymnasium.make("cosdt/Hopper-d4rl")  # noqa: E731
    entries = cosdt.evaluate(agent, make_env, 1, targets=["auto", 5])
    assert [entry["target"] for entry in entries] == ["auto", 5]


def test_rows_do_not_depend_on_each_other(run):
    rng = np.random.default_rng(0)
    observations, rewards = rng.normal(size=(6, 3, 11)), rng.normal(size=(6, 3))
    together = cosdt.Agent(run, threads=2)
    together.reset([100, 200, 300])
    actions = np.stack([together.act(o, r) for o, r in zip(observations, rewards)])
    assert actions.shape == (6, 3, 3) and (np.abs(actions) < 1).all()
    alone = cosdt.Agent(run)
    for row, target in enumerate([100, 200, 300]):
        alone.reset(target)
        single = np.stack([alone.act(o[row], r[row]) for o, r in zip(observations, rewards)])
        np.testing.assert_array_equal(single, actions[:, row])
    together.reset([100, 200, 300])
    for step in range(3):
        together.act(observations[step], rewards[step])
    together.keep([0, 2])
    for step in range(3, 6):
        np.testing.assert_array_equal(together.act(observations[step][[0, 2]], rewards[step][[0, 2]]), actions[step][[0, 2]])


def test_float32_and_strided_observations_are_taken_as_they_are(run):
    agent, other = cosdt.Agent(run), cosdt.Agent(run)
    observations = np.random.default_rng(1).normal(size=(2, 22)).astype(np.float32)[:, ::2]
    agent.reset([1.0, 2.0])
    other.reset([1.0, 2.0])
    np.testing.assert_array_equal(agent.act(observations), other.act(observations.astype(np.float64).copy()))


def test_discrete_agents_give_indices(discrete_run):
    env = gymnasium.make("cosdt/popgym-repeat-first-easy")
    agent = cosdt.Agent(discrete_run)
    observation, _ = env.reset(seed=0)
    agent.reset()
    action = agent.act(observation)
    assert isinstance(action, np.integer) and env.action_space.contains(action)
    rows = np.repeat(observation[None], 64, 0)
    agent.reset([1.0] * 64, seeds=range(64))
    assert len(set(agent.act(rows).tolist())) > 1
    report = json.loads(run_program("eval", discrete_run, "--episodes", 3, "--json"))["targets"][0]
    entry = cosdt.evaluate(discrete_run, lambda: gymnasium.make("cosdt/popgym-repeat-first-easy"), 3)[0]
    assert entry["lengths"] == report["lengths"] == [51] * 3


def test_evaluates_in_an_environment_of_ones_own(run):
    class Mine(gymnasium.Env):
        """Hopper's sizes; pays 1 per step, and its episode i is i + 3 steps long."""

        observation_space = gymnasium.spaces.Box(-1, 1, (11,))
        action_space = gymnasium.spaces.Box(-1, 1, (3,))
        closed = 0

        def reset(self, *, seed=None, options=None):
            self.left = seed - 10 + 3
            return self.observation_space.sample(), {}

        def step(self, action):
            assert self.action_space.contains(action)
            self.left -= 1
            return self.observation_space.sample(), 1.0, self.left == 0, False, {}

        def close(self):
            Mine.closed += 1

    entries = cosdt.evaluate(run, Mine, 40, targets=[5, 10], seed=10, score="hopper")
    assert [entry["target"] for entry in entries] == [5, 10]
    for entry in entries:
        assert entry["lengths"] == list(range(3, 43)) == entry["returns"]
        assert entry["mean"] == pytest.approx(np.mean(range(3, 43)))
        assert entry["std"] == pytest.approx(np.std(range(3, 43)))
        assert entry["iqm"] == pytest.approx(np.mean(range(13, 33)))
        assert entry["normalized_score"] == pytest.approx(cosdt.normalized_score("hopper", entry["mean"]))
        assert entry["normalized_score_ci"][0] < entry["normalized_score"] < entry["normalized_score_ci"][1]
    assert Mine.closed > 0
    assert cosdt.evaluate(run, Mine, 2, targets=[5], seed=10)[0]["normalized_score"] is None


def test_what_an_environment_raises_comes_through_and_closes_all(run):
    class Fails(gymnasium.Env):
        closed = 0

        def reset(self, *, seed=None, options=None):
            raise KeyboardInterrupt

        def close(self):
            Fails.closed += 1

    with pytest.raises(KeyboardInterrupt):
        cosdt.evaluate(run, Fails, 3, targets=[1])
    assert Fails.closed == 3


def test_bad_input_is_refused(run, discrete_run):
    agent = cosdt.Agent(run)
    with pytest.raises(RuntimeError, match="expected reset before act"):
        agent.act(np.zeros(11))
    for targets in ([], [[1.0]], float("nan"), [1, float("inf")], "Auto", ["auto", "much"], {"auto": 1}):
        with pytest.raises(ValueError, match="targets: expected a finite number"):
            agent.reset(targets)
    with pytest.raises(ValueError, match="does not predict returns, found auto"):
        agent.reset("auto")
    with pytest.raises(ValueError, match="seeds"):
        agent.reset([1.0], seeds=[1])
    with pytest.raises(ValueError, match="seeds"):
        cosdt.Agent(discrete_run).reset([1.0], seeds=[1, 2])
    agent.reset([1.0, 2.0])
    for observations in (np.zeros(11), np.zeros((1, 11)), np.zeros((2, 12)), np.zeros((2, 11), complex), [["a"] * 11] * 2):
        with pytest.raises(ValueError, match="observations: expected numbers"):
            agent.act(observations)
    with pytest.raises(ValueError, match="rewards: expected shape"):
        agent.act(np.zeros((2, 11)), [1.0])
    for rows in ([1, 0], [0, 0], [2], [-1]):
        with pytest.raises(ValueError, match="rows: expected ascending"):
            agent.keep(rows)
    with pytest.raises(OSError, match="nothing"):
        cosdt.Agent(run / "nothing")
    for options in ({"decode": "best"}, {"precision": "fp8"}, {"threads": 0}, {"decode": "recurrent"}):
        with pytest.raises(ValueError):
            cosdt.Agent(run, **options)
    with pytest.raises(ValueError, match="episodes: expected at least 1"):
        cosdt.evaluate(run, lambda: gymnasium.make("cosdt/Hopper-d4rl"), 0)


def test_a_fork_of_an_agent_says_so(run):
    agent = cosdt.Agent(run, threads=2)
    agent.reset([1.0])
    child = os.fork()
    if child == 0:
        try:
            agent.act(np.zeros((1, 11)))
        except RuntimeError as e:
            os._exit(7 if "make it after the fork" in str(e) else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
