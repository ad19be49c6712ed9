"""Makes memory_tasks.bin: episodes of popgym's own tasks, and of RATE's and Memory-RL's T-mazes.

    pip install popgym==1.0.7 gymnasium==1.4.0 numpy==2.4.6
    git clone https://github.com/CognitiveAISystems/RATE          (commit 8b80e4e)
    git clone https://github.com/twni2016/Memory-RL               (commit c9b8b39)
    python tests/envs/make_memory_golden.py RATE Memory-RL

An episode, little-endian:
    int32    length of the name and the name, cosdt's
    int32    steps, start, state, observation         sizes
    float64  start[start]          cards in the order in which they are dealt (count-recall: those of
                                   the second deck after them), or the goal's y of a T-maze
    float32  observation[observation]                 the first one
    and for each step
    float64  state[state]          before the step, of cart pole and pendulum; it was set
    float32  action                as cosdt counts it: a pendulum's torque is twice as much
    float64  reward
    uint8    terminated, truncated
    float32  observation[observation]
Discrete observations are flattened as gymnasium.spaces.flatten does: one-hot.
"""
import importlib.util
import pathlib
import struct
import sys
import types

import gymnasium
import numpy as np
import popgym
from gymnasium import spaces

HERE = pathlib.Path(__file__).parent
rng = np.random.default_rng(7)


class Writer:
    def __init__(self, file, name, start, state, observation):
        self.file, self.name, self.start = file, name.encode(), np.asarray(start, np.float64)
        self.sizes, self.first, self.steps = (state, len(observation)), observation, []

    def step(self, state, action, reward, terminated, truncated, observation):
        result = struct.pack("<fd??", action, reward, terminated, truncated)
        self.steps.append(np.asarray(state, "<f8").tobytes() + result + np.asarray(observation, "<f4").tobytes())

    def close(self):
        self.file.write(struct.pack("<i", len(self.name)) + self.name)
        self.file.write(struct.pack("<4i", len(self.steps), len(self.start), *self.sizes))
        self.file.write(self.start.astype("<f8").tobytes() + np.asarray(self.first, "<f4").tobytes())
        self.file.write(b"".join(self.steps))


def flat(env, observation):
    return spaces.flatten(env.observation_space, observation)


def card_game(file, name, env, seed, decks, answer):
    """An episode that answers right in two of three steps."""
    observation, _ = env.reset(seed=seed)
    start = np.concatenate([deck.idx[::-1] for deck in decks(env)])
    writer = Writer(file, name, start, 0, flat(env, observation))
    done = False
    while not done:
        action = answer(env) if rng.random() < 2 / 3 else int(rng.integers(env.action_space.n))
        observation, reward, terminated, truncated, _ = env.step(action)
        done = terminated or truncated
        writer.step([], action, reward, terminated, truncated, flat(env, observation))
    writer.close()


def control(file, name, env, seed, controller, scale):
    observation, _ = env.reset(seed=seed)
    writer = Writer(file, name, [], len(env.state), observation)
    done = False
    while not done:
        state = np.array(env.state)
        action = controller(state)
        given = action if scale is None else np.array([scale * action])
        observation, reward, terminated, truncated, _ = env.step(given)
        done = terminated or truncated
        writer.step(state, action, reward, terminated, truncated, observation)
    writer.close()


def balance(state):
    x, v, angle, turn = state
    return int(x + 1.7 * v + 20 * angle + 3.5 * turn > 0)


def load(path, name):
    """A module of a project that imports gym, which it hardly uses, and matplotlib, which it does not need."""
    for missing, stand_in in (("gym", gymnasium), ("matplotlib", types.ModuleType("matplotlib")),
                              ("matplotlib.pyplot", types.ModuleType("matplotlib.pyplot"))):
        sys.modules.setdefault(missing, stand_in)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def maze(file, name, env, right, rate):
    """An episode that moves right with a probability, and otherwise anywhere."""

    def shown(observation):
        if not rate:
            return observation
        x, y, hint = observation  # RATE's own script and evaluation leave x out and add the flag
        return [y, hint, float(x == env.corridor_length)]

    observation = env.reset()
    writer = Writer(file, name, [env.goal_y], 0, shown(observation))
    done = False
    while not done:
        at_end = env.x == env.corridor_length
        action = 0 if rng.random() < right and not at_end else int(rng.integers(4))
        observation, reward, done, _ = env.step(action)
        writer.step([], action, reward, done, False, shown(observation))
    writer.close()


def popgym_tasks(file):
    def hand(env):
        return env.deck["player"]

    def suit(env, back):
        cards = hand(env)
        return int(env.deck.suits_idx[cards[-back]]) if len(cards) >= back else 0

    answers = {
        "RepeatFirst": lambda e: int(e.card),
        "RepeatPrevious": lambda e: suit(e, e.k),
        "Autoencode": lambda e: int(e.deck.suits_idx[e.deck["system"][-1]]),
        "CountRecall": lambda e: int(e.counts[e.query]),
        "HigherLower": lambda e: int(e.deck.ranks_idx[hand(e)[-1]] > 6),
    }
    names = {"RepeatFirst": "repeat-first", "RepeatPrevious": "repeat-previous", "Autoencode": "autoencode",
             "CountRecall": "count-recall", "HigherLower": "higher-lower"}
    for level in ("Easy", "Medium", "Hard"):
        for task, name in names.items():
            env = getattr(popgym.envs, module_of(task)).__dict__[task + level]()
            decks = (lambda e: (e.value_deck, e.query_deck)) if task == "CountRecall" else (lambda e: (e.deck,))
            card_game(file, f"popgym-{name}-{level.lower()}", env, 1, decks, answers[task])
        env = popgym.envs.position_only_cartpole.__dict__["PositionOnlyCartPole" + level]()
        name = f"popgym-position-only-cart-pole-{level.lower()}"
        control(file, name, env, 1, balance, None)
        for seed in range(2, 8):
            control(file, name, env, seed, lambda s: int(rng.integers(2)), None)
        control(file, name, env, 9, lambda s: int(s[2] + 0.3 * s[3] > -0.1), None)
        env = popgym.envs.position_only_pendulum.__dict__["PositionOnlyPendulum" + level]()
        name = f"popgym-position-only-pendulum-{level.lower()}"
        for seed in (1, 2):
            control(file, name, env, seed, lambda s: float(np.float32(rng.uniform(-1.25, 1.25))), 2)


def module_of(task):
    return "".join("_" + c.lower() if c.isupper() else c for c in task)[1:]


def main():
    rate = load(pathlib.Path(sys.argv[1]) / "src/envs/tmaze/tmaze.py", "rate_tmaze")
    memory_rl = load(pathlib.Path(sys.argv[2]) / "envs/tmaze.py", "memory_rl_tmaze")
    np.random.seed(7)
    with open(HERE / "memory_tasks.bin", "wb") as file:
        popgym_tasks(file)
        for right in (1.0, 1.0, 0.8, 0.5):
            for steps in (3, 9, 30, 150):
                # as RATE's get_returns_TMaze is called
                env = rate.TMazeClassicPassive(episode_length=steps, corridor_length=steps - 2, penalty=0,
                                               goal_reward=1.0)
                maze(file, f"rate-tmaze-{steps}", env, right, True)
            for length in (1, 2, 10, 50, 150):
                # as configs/envs/tmaze_passive.py registers it
                env = memory_rl.TMazeClassicPassive(corridor_length=length, penalty=-1.0 / length, distract_reward=0.0)
                maze(file, f"memory-rl-tmaze-{length}", env, right, False)


if __name__ == "__main__":
    main()
