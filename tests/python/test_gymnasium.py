"""Environments: gymnasium's own checks, the program's episodes, gymnasium's simulation of the exported bodies."""

import json
import os
import pickle
import threading

import gymnasium
import h5py
import numpy as np
import pytest
from conftest import run_program
from gymnasium.utils.env_checker import check_env

import cosdt

BODIES = {"Hopper": "hopper", "HalfCheetah": "halfcheetah", "Walker2d": "walker2d"}


@pytest.mark.filterwarnings("ignore")
def test_every_environment_passes_gymnasiums_check():
    names = [name for name in gymnasium.registry if name.startswith("cosdt/")]
    assert len(names) == 3 * 4 * 3 + 21
    names += [cosdt.gymnasium.env_id(name) for name in ("hopper-dropped-50", "tmaze-10", "rate-tmaze-9", "memory-rl-tmaze-5")]
    for name in names:
        env = gymnasium.make(name)
        assert env.spec.max_episode_steps == (1000 if env.unwrapped.name.startswith(tuple(BODIES.values())) else None)
        check_env(env.unwrapped, skip_render_check=True)
        env.close()


def policy_of(path):
    """The mean action of a policy in D4RL's metadata/policy, in float64."""
    with h5py.File(path) as file:
        group = file["metadata/policy"]
        hidden = [(group[f"fc{i}/weight"][:], group[f"fc{i}/bias"][:]) for i in range(2)]
        last = group["last_fc/weight"][:], group["last_fc/bias"][:]

    def act(x):
        for weight, bias in hidden:
            x = np.maximum(x @ weight.T + bias, 0)
        return np.tanh(x @ last[0].T + last[1])

    return act


def test_scores_of_a_policy_are_the_programs():
    path = os.path.join(os.path.dirname(__file__), "../published/sac-Hopper-v3.hdf5")
    report = json.loads(
        run_program("rollout", "--env", "hopper", "--policy", path, "--deterministic", "--episodes", 3, "--seed", 7, "--json")
    )
    act = policy_of(path)
    env = gymnasium.make("cosdt/Hopper-d4rl")
    for episode in range(3):
        observation, _ = env.reset(seed=7 if episode == 0 else None)
        total, length, ended = 0.0, 0, False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(act(observation))
            total, length, ended = total + reward, length + 1, terminated or truncated
        # float64 here and float32 there
        assert length == report["lengths"][episode]
        assert total == pytest.approx(report["returns"][episode], rel=1e-3)
    assert cosdt.normalized_score("hopper", report["mean"]) == pytest.approx(report["normalized_score"], abs=1e-12)


def test_episodes_without_a_policy_are_the_programs_to_the_bit():
    report = json.loads(run_program("rollout", "--env", "walker2d", "--policy", "zero", "--episodes", 4, "--seed", 2, "--json"))
    envs = gymnasium.make_vec("cosdt/Walker2d-d4rl", num_envs=1)
    envs.reset(seed=2)
    returns = []
    while len(returns) < 4:
        total, ended = 0.0, False
        while not ended:
            _, rewards, terminated, truncated, _ = envs.step(np.zeros((1, 6), np.float32))
            total, ended = total + rewards[0], terminated[0] or truncated[0]
        envs.step(np.zeros((1, 6), np.float32))  # begins the next episode
        returns.append(total)
    assert returns == report["returns"]


@pytest.mark.parametrize("name", ["hopper", "popgym-repeat-previous-easy", "tmaze-10"])
def test_vector_steps_as_gymnasiums_sync_vector(name):
    name = cosdt.gymnasium.env_id(name)
    ours = gymnasium.make_vec(name, num_envs=3, threads=2)
    theirs = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make(name)] * 3)
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.action_space == theirs.action_space
    theirs.action_space.seed(1)
    first, second = ours.reset(seed=5), theirs.reset(seed=5)
    np.testing.assert_array_equal(first[0], second[0])
    ends = 0
    for _ in range(150):
        actions = theirs.action_space.sample()
        first, second = ours.step(actions), theirs.step(actions)
        for a, b in zip(first[:4], second[:4]):
            np.testing.assert_array_equal(a, b)
        ends += first[2].sum() + first[3].sum()
    assert ends > 3


def test_threads_do_not_matter():
    def play(threads):
        envs = gymnasium.make_vec("cosdt/HalfCheetah-d4rl", num_envs=5, threads=threads)
        envs.reset(seed=0)
        return [envs.step(np.full((5, 6), 0.1 * i, np.float32))[0] for i in range(10)]

    np.testing.assert_array_equal(play(1), play(3))


@pytest.mark.parametrize("title", BODIES)
@pytest.mark.parametrize("physics", ["d4rl", "gymnasium-v4"])
def test_exported_body_moves_in_gymnasium_as_here(title, physics, tmp_path):
    file = tmp_path / "body.xml"
    file.write_text(cosdt.model_xml(BODIES[title], physics))
    assert file.read_text() == run_program("model", "--env", BODIES[title], "--physics", physics)
    theirs = gymnasium.make(f"{title}-v5", xml_file=str(file)).unwrapped
    ours = gymnasium.make(f"cosdt/{title}-{physics}").unwrapped
    ours.reset(seed=0)
    theirs.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(20):
        qpos, qvel = ours.state()
        theirs.set_state(qpos, qvel)
        ours.set_state(qpos, qvel)
        action = rng.uniform(-1, 1, ours.action_space.shape)
        observation, reward, terminated, *_ = ours.step(action)
        expected, expected_reward, expected_terminated, *_ = theirs.step(action)
        np.testing.assert_allclose(observation, expected, rtol=0, atol=1e-10)
        assert terminated == expected_terminated
        if not terminated:  # where version 5 withholds the healthy reward
            assert reward == pytest.approx(expected_reward, abs=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_stable_baselines3_trains_in_it():
    from stable_baselines3 import SAC
    from stable_baselines3.common.vec_env import DummyVecEnv

    agent = SAC(
        "MlpPolicy", DummyVecEnv([lambda: gymnasium.make("cosdt/Hopper-d4rl")]), learning_starts=100, seed=0,
        policy_kwargs={"net_arch": [32, 32]},
    )
    before = [p.clone() for p in agent.actor.parameters()]
    agent.learn(300)
    assert agent.num_timesteps == 300
    assert any((p != q).any() for p, q in zip(agent.actor.parameters(), before))


def test_normalized_scores():
    assert cosdt.normalized_score("hopper", 3234.3) == pytest.approx(100)
    np.testing.assert_allclose(cosdt.normalized_score("hopper-position", [-20.272305, 3234.3]), [0, 100])
    with pytest.raises(ValueError, match="expected one that D4RL scores, found tmaze-100"):
        cosdt.normalized_score("tmaze-100", 1.0)


def test_bad_actions_are_refused_and_change_nothing():
    env = gymnasium.make("cosdt/Hopper-d4rl").unwrapped
    start, _ = env.reset(seed=0)
    for action in (np.zeros(2), np.zeros((1, 3)), ["a", "b", "c"], np.zeros(3, complex), None, [0, np.nan, 0]):
        with pytest.raises(ValueError, match="action"):
            env.step(action)
    expected = gymnasium.make("cosdt/Hopper-d4rl").unwrapped
    expected.reset(seed=0)
    step = np.array([0.1, 0.2, 0.3])
    np.testing.assert_array_equal(env.step(step)[0], expected.step(np.repeat(step, 2)[::2])[0])  # not contiguous
    game = gymnasium.make("cosdt/popgym-repeat-first-easy").unwrapped
    game.reset(seed=0)
    for action in (4, -1, 1.0, [1]):
        with pytest.raises(ValueError, match="action"):
            game.step(action)
    envs = gymnasium.make_vec("cosdt/Hopper-d4rl", num_envs=2)
    with pytest.raises(gymnasium.error.ResetNeeded):
        envs.step(np.zeros((2, 3)))
    envs.reset(seed=0)
    for actions in (np.zeros((1, 3)), np.zeros(6), np.full((2, 3), np.inf)):
        with pytest.raises(ValueError, match="action"):
            envs.step(actions)
    for seed in ([1], [1, 2, 3]):
        with pytest.raises(ValueError, match="seed: expected 2"):
            envs.reset(seed=seed)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="env: expected one of hopper"):
        cosdt.gymnasium.env_id("ant")
    with pytest.raises(ValueError, match="physics: expected one of d4rl"):
        cosdt.gymnasium.env_id("hopper", "gymnasium-v6")
    with pytest.raises(ValueError, match="env: expected one of hopper, halfcheetah, walker2d"):
        cosdt.model_xml("tmaze-100")
    with pytest.raises(ValueError, match="num_envs"):
        gymnasium.make_vec("cosdt/Hopper-d4rl", num_envs=0)
    with pytest.raises(ValueError, match="max_episode_steps: expected 1000, hopper's own, found 10"):
        gymnasium.make_vec("cosdt/Hopper-d4rl", num_envs=1, max_episode_steps=10)


def test_closed_environments_say_so():
    env, envs = gymnasium.make("cosdt/Hopper-d4rl"), gymnasium.make_vec("cosdt/Hopper-d4rl", num_envs=2)
    for closed in (env, envs):
        closed.reset(seed=0)
        closed.close()
        with pytest.raises(gymnasium.error.ClosedEnvironmentError, match="hopper: expected .*open"):
            closed.unwrapped.reset()


def test_a_fork_of_an_environment_with_threads_says_so():
    envs = gymnasium.make_vec("cosdt/Hopper-d4rl", num_envs=4, threads=2)
    envs.reset(seed=0)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            envs.step(np.zeros((4, 3)))
            error = None
        except RuntimeError as e:
            error = str(e)
        os.write(write, pickle.dumps(error))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        error = pickle.loads(pipe.read())
    os.waitpid(child, 0)
    assert "make it after the fork" in error
    envs.step(np.zeros((4, 3)))  # this process goes on


def test_threads_of_python_take_turns():
    one, two = (gymnasium.make_vec("cosdt/HalfCheetah-d4rl", num_envs=4, threads=2) for _ in range(2))
    zeros = np.zeros((4, 6), np.float32)

    def steps(envs, count):
        for _ in range(count):
            envs.step(zeros)

    for envs in (one, two):
        envs.reset(seed=0)
    steps(one, 200)
    workers = [threading.Thread(target=steps, args=(two, 100)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    np.testing.assert_array_equal(one.step(zeros)[0], two.step(zeros)[0])


def test_gymnasiums_processes_step_it():
    envs = gymnasium.vector.AsyncVectorEnv([lambda: gymnasium.make("cosdt/Hopper-d4rl")] * 2)
    try:
        np.testing.assert_array_equal(envs.reset(seed=0)[0], gymnasium.make_vec("cosdt/Hopper-d4rl", num_envs=2).reset(seed=0)[0])
    finally:
        envs.close()
